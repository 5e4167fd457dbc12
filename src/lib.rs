//! Candor: which customers does this incident hit, who exactly should hear of it, what have we told
//! them, and can we prove it?
//!
//! The modules, in the order in which data goes through them:
//! `alert ─► incident ─► affected resources ─► audience ─► notice ─► delivery`, all of it ─► `audit`.

pub mod app;
mod columns;
pub mod config;
pub mod egress;
pub mod error;
pub mod id;
pub mod shared;
pub mod time;

pub mod audit;
pub mod db;

pub mod directory;

pub mod alert;
pub mod watch;

pub mod audience;
pub mod incident;
pub mod report;

pub mod delivery;
pub mod notice;
pub mod template;
pub mod unreached;

pub mod automation;
pub mod operators;

pub mod http;
pub mod schedule;

pub mod access;
pub mod backup;
pub mod catcher;
pub mod demo;
pub mod idempotency;
