//! The two listings of a comparison.

use crate::base::enums::word_enum;

word_enum! {
    /// One of the two listings of a comparison.
    #[schema(as = ComparisonSide)]
    Side, "a listing" {
        /// The listing of what should be there.
        Expected = "expected",
        /// The listing of what is there.
        Observed = "observed",
    }
}
