//! The composition root: what `bellwether` is made of, for its binary and for tests that run roles in
//! processes of their own.
//!
//! It may know every crate and decides nothing; one file per verb in [`commands`].

pub mod commands;
pub mod config;
mod controls;
pub mod keys;
pub mod local;
pub mod operators;
pub mod reports;
pub mod roles;
pub mod rules;
pub mod silences;

pub use config::Config;
pub use roles::{Hooks, Role};
