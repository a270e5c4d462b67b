//! Notify and deliver: who is told, and the telling.
//!
//! [`NotifyStage`] folds decision events in order through `domain::notify` and turns what is planned
//! into send jobs; [`DeliverWork`] does those jobs, each under a lease, through the [`channels`].
//! This crate must not know how alerts come in or how problems are kept, and takes no decision of
//! its own about whether somebody is told.
//!
//! To add a channel: one file and one line in [`channels`].

mod access;
pub mod channels;
pub mod config;
pub mod deliver;
pub mod mail;
pub mod notify;
pub mod sender;
pub mod wording;

pub use config::{ChannelConfig, Channels, Config, Error, Target};
pub use deliver::DeliverWork;
pub use notify::NotifyStage;
pub use sender::{Printer, Sender, print_to_log};
