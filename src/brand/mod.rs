//! The brand: under which name, with which logo and in which colour customers hear from the operator.
//!
//! - `settings` has the fields, and checks them. `color` decides whether a colour can be read.
//! - `image` and `svg` check a logo, without I/O.
//! - `stored` reads and writes all of it.
//! - `cache` keeps what the public pages show.
//!
//! A notice freezes the brand when it is sent, so that an email can be written again after the brand changed.

mod cache;
mod color;
mod image;
mod settings;
mod stored;
mod svg;

pub use cache::{BrandCache, Shown};
pub use color::{Color, style_sheet};
pub use image::{Image, MAX_SIZE, Media};
pub use settings::BrandSettings;
pub use stored::{Brand, Logo, image, public_files, put_logo, read, remove_logo, replace};
