//! The one integration test binary: one module a stage, and what concerns several.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and make their own clocks and tasks"
)]

mod alertmanager;
mod channels;
mod chat;
mod commands;
mod compose;
mod crash;
mod deliver;
mod doors;
mod hung;
mod janitor;
mod job_loop;
mod keys;
mod lane_loop;
mod layering;
mod newcomer;
mod observe;
mod pages;
mod parked;
mod property;
mod query;
mod rules;
mod send_test;
mod storm;
mod tables;
mod telling;
mod triage;
