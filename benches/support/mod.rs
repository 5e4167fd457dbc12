//! What the measurements share: the tools beside Candor, the sink, the program itself, its directory, and the figures.
//!
//! Must never happen here: a figure that was not measured, a tool that is missing without a word, or a process or a
//! database that stays behind.

#[allow(dead_code)] // only one of the benches needs it
pub mod alertmanager;
pub mod candor;
pub mod figures;
pub mod machine;
pub mod postgres;
pub mod process;
pub mod sink;
pub mod story;
pub mod tools;

/// What went wrong, in a sentence. A measurement that fails ends the run: there is nobody to handle it.
pub type Result<T> = std::result::Result<T, String>;

/// Puts what was being done before what went wrong.
pub trait Context<T> {
    /// The error, after `what: `.
    ///
    /// # Errors
    /// The same error, said better.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        // `{:#}`: where an error has a source worth reading, this shows it.
        self.map_err(|error| format!("{what}: {error:#}"))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.ok_or_else(|| what.to_string())
    }
}
