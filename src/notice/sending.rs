//! The settings of the service that notices need.

/// The settings that a notice needs.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The number of recipients above which another person must approve, unless other limits are stored.
    pub max_audience: usize,
    /// The base URL of links.
    pub public_url: String,
    /// The display name of the sender.
    pub sender: String,
}
