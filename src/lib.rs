//! Candor notifies customers of incidents. It finds out which customers an incident affects and who must be
//! notified, it shows which notices these people got, and it keeps the proof.
//!
//! Data goes through the modules in this order: `alert ─► incident ─► affected resources ─► audience ─►
//! notice ─► delivery`. Each of them writes to `audit`.

// The page of an incident is one large `json!`.
#![recursion_limit = "256"]

pub mod base;

pub mod words;

pub mod db;
// All modules below write to the audit trail.
pub mod audit;

pub mod auth;
pub mod brand;
pub mod config;
pub mod egress;
pub mod listing;
pub mod time_stamps;
pub mod work;

pub mod directory;

pub mod backup;

pub mod alert;
pub mod watch;

pub mod audience;
pub mod comparison;
pub mod incident;
pub mod maintenance;
pub mod search;
pub mod status;

pub mod answers;
pub mod customer;
pub mod delivery;
pub mod evidence;
pub mod feedback;
pub mod forgetting;
pub mod notice;
pub mod subscription;

pub mod automation;
pub mod emergency;
pub mod now;
pub mod operators;

pub mod http;
pub mod schedule;
pub mod system;

pub mod app;
pub mod demo;
