//! The kinds of findings, and how many of each a run has found.

use serde::{Deserialize, Serialize};

use crate::base::columns::word_columns;
use crate::base::enums::word_enum;
use crate::incident::finding::FindingKind;

word_enum! {
    /// The kind of a finding.
    #[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow, PartialOrd, Ord)]
    #[diesel(sql_type = diesel::sql_types::Text)]
    #[schema(as = ComparisonFindingKind)]
    Kind, "a kind of finding" {
        /// The key is expected and was not observed.
        Missing = "missing",
        /// A compared column has another value than expected.
        Differs = "differs",
        /// The key was observed and is not expected.
        Unexpected = "unexpected",
        /// The key is in one of the listings more than once, so it is not known which row is right.
        Duplicate = "duplicate",
        /// The values cannot be compared, for example the ETag of a multipart upload and an MD5 checksum.
        Incomparable = "incomparable",
        /// The expected row is marked as gone, so it was not compared.
        Gone = "gone",
        /// The expected row was written outside the window, so it was not compared.
        OutsideWindow = "outside_window",
    }
}
word_columns!(Kind);

impl Kind {
    /// All kinds of findings, also those of rows that were not compared.
    pub const ALL: [Kind; 7] = [
        Kind::Missing,
        Kind::Differs,
        Kind::Unexpected,
        Kind::Duplicate,
        Kind::Incomparable,
        Kind::Gone,
        Kind::OutsideWindow,
    ];

    /// Returns the kind as an incident stores it. Rows that were not compared, and those whose values cannot be compared, cannot
    /// become affected: nothing says that they are wrong.
    pub fn applied(self) -> Option<FindingKind> {
        match self {
            Kind::Missing => Some(FindingKind::Missing),
            Kind::Differs => Some(FindingKind::Differs),
            Kind::Unexpected => Some(FindingKind::Unexpected),
            Kind::Duplicate => Some(FindingKind::Duplicate),
            Kind::Incomparable | Kind::Gone | Kind::OutsideWindow => None,
        }
    }
}

/// The result of a run in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ComparisonCounts)]
pub struct Counts {
    /// The rows of the expected listing.
    pub expected: u64,
    /// The rows of the observed listing.
    pub observed: u64,
    /// The keys whose compared columns are all equal.
    pub equal: u64,
    /// The keys that are expected and were not observed.
    pub missing: u64,
    /// The keys of which a compared column differs.
    pub differs: u64,
    /// The keys that were observed and are not expected.
    pub unexpected: u64,
    /// The keys that are in one of the listings more than once.
    pub duplicate: u64,
    /// The keys with values that cannot be compared.
    pub incomparable: u64,
    /// The expected rows that are marked as gone.
    pub gone: u64,
    /// The expected rows that were written outside the window.
    pub outside_window: u64,
    /// The findings whose resource or person is not in the directory. Findings of the kinds gone and outside_window do
    /// not count.
    pub unknown_resources: u64,
}

impl Counts {
    /// Returns the number of findings of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Missing => self.missing,
            Kind::Differs => self.differs,
            Kind::Unexpected => self.unexpected,
            Kind::Duplicate => self.duplicate,
            Kind::Incomparable => self.incomparable,
            Kind::Gone => self.gone,
            Kind::OutsideWindow => self.outside_window,
        }
    }

    /// Adds a finding of a kind.
    pub fn add(&mut self, kind: Kind) {
        let number = match kind {
            Kind::Missing => &mut self.missing,
            Kind::Differs => &mut self.differs,
            Kind::Unexpected => &mut self.unexpected,
            Kind::Duplicate => &mut self.duplicate,
            Kind::Incomparable => &mut self.incomparable,
            Kind::Gone => &mut self.gone,
            Kind::OutsideWindow => &mut self.outside_window,
        };
        *number += 1;
    }
}
