//! Candor: which customers does this incident hit, who exactly should hear of it, what have we told
//! them, and can we prove it?
//!
//! The modules, in the order in which data goes through them:
//! `alert ─► incident ─► affected resources ─► audience ─► notice ─► delivery`, all of it ─► `audit`.

pub mod base;

pub mod db;
// After the database comes what everything writes to.
pub mod audit;

pub mod auth;
pub mod config;
pub mod egress;
pub mod work;

pub mod directory;

pub mod alert;
pub mod watch;

pub mod audience;
pub mod incident;

pub mod delivery;
pub mod feedback;
pub mod notice;

pub mod automation;
pub mod operators;

pub mod http;
pub mod schedule;

pub mod app;
pub mod backup;
pub mod demo;
