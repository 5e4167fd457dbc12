//! Which incidents are merged into which. Whoever asks what was told about an incident asks about all of these.

pub use crate::audit::lineage::{
    Counted, IDS, check_not_merged, counted_for, ids_with_merged, merged_into, root,
};
