//! The texts of the templates, the styles and the scripts of the pages. They are in the binary.
//!
//! A debug build reads them from the folder `templates` of the sources if the variable `CANDOR_TEMPLATES_FROM_DISK` is set, so
//! that a page can be changed without a new build.

use std::borrow::Cow;

/// The variable that makes a debug build read the templates from the disk.
#[cfg(debug_assertions)]
const FROM_DISK: &str = "CANDOR_TEMPLATES_FROM_DISK";

/// Returns whether the templates may change while the process runs.
pub(super) fn may_change() -> bool {
    #[cfg(debug_assertions)]
    return std::env::var_os(FROM_DISK).is_some();
    #[cfg(not(debug_assertions))]
    return false;
}

/// Returns the text of a file below `templates`, such as `style/base.css`. `built_in` is the text in the binary.
pub(super) fn source(name: &str, built_in: &'static str) -> Cow<'static, str> {
    #[cfg(debug_assertions)]
    if may_change()
        && let Ok(text) = std::fs::read_to_string(path(name))
    {
        return text.into();
    }
    let _ = name;
    built_in.into()
}

/// Returns where a file below `templates` is in the sources.
#[cfg(debug_assertions)]
pub(super) fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("templates")
        .join(name)
}
