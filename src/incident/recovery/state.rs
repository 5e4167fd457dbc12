//! The states of recovery.

use crate::base::enums::word_enum;

word_enum! {
    /// How far the recovery of a resource is.
    #[schema(as = RecoveryState)]
    State, "a state of recovery" {
        /// The resource is wrong, missing or not usable.
        Impaired = "impaired",
        /// Somebody is recovering the resource.
        Recovering = "recovering",
        /// Evidence shows that the resource is as expected, or two people attested it.
        Recovered = "recovered",
    }
}
