//! The one integration test binary: one module a stage, and what concerns several.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and make their own clocks and tasks"
)]

mod crash;
mod deliver;
mod job_loop;
mod lane_loop;
mod layering;
mod observe;
mod query;
