//! Writes two listings in the format of the story: what should be stored, and what is stored. The lines of each are in an
//! order of their own, and neither is that of the keys.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::support::{Context, Result};

/// Every how many rows there is a difference. With 1,000,000 rows there are 1,507 of them.
const EVERY: u64 = 663;

/// The numbers that every program must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The rows that are in both listings with the same size.
    pub equal: u64,
    /// The rows that are only expected.
    pub missing: u64,
    /// The rows with another size.
    pub differs: u64,
    /// The rows that were only observed.
    pub unexpected: u64,
}

/// What is different about a row.
#[derive(PartialEq, Eq)]
enum Difference {
    None,
    Missing,
    Empty,
    Unexpected,
}

fn difference(n: u64) -> Difference {
    match (n.is_multiple_of(EVERY), (n / EVERY) % 3) {
        (false, _) => Difference::None,
        (true, 0) => Difference::Missing,
        (true, 1) => Difference::Empty,
        (true, _) => Difference::Unexpected,
    }
}

/// Writes both listings with this many different keys, and returns what is different.
///
/// # Errors
/// The reason why a file cannot be written.
pub fn write(rows: u64, expected: &Path, observed: &Path) -> Result<Found> {
    let open = |path: &Path| File::create(path).map(BufWriter::new).context(path.display());
    let (mut ours, mut theirs) = (open(expected)?, open(observed)?);
    let mut found = Found::default();
    // Both factors are odd and not multiples of 5, so each number below a power of ten comes once.
    for index in 0..rows {
        let n = shuffled(index, rows, 7_368_787);
        let kind = difference(n);
        match kind {
            Difference::None => found.equal += 1,
            Difference::Missing => found.missing += 1,
            Difference::Empty => found.differs += 1,
            Difference::Unexpected => found.unexpected += 1,
        }
        if kind != Difference::Unexpected {
            let size = size(n);
            writeln!(
                ours,
                "{}\t{n:08x}-5d1f-4c0a-9d3e-{:012x}\t{size}\tfalse\t2017-03-{:02}T10:{:02}:00Z\t2017-04-01T00:00:00Z",
                key(n),
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16,
                n % 28 + 1,
                n % 60
            )
            .context(expected.display())?;
        }
        let n = shuffled(index, rows, 3_497_861);
        let size = match difference(n) {
            Difference::Missing => continue,
            Difference::Empty => 0,
            Difference::None | Difference::Unexpected => size(n),
        };
        writeln!(theirs, "{}\t{size}", key(n)).context(observed.display())?;
    }
    ours.flush().context(expected.display())?;
    theirs.flush().context(observed.display())?;
    Ok(found)
}

fn shuffled(index: u64, rows: u64, factor: u64) -> u64 {
    (index * factor + 17) % rows
}

fn size(n: u64) -> u64 {
    50_000_000 + n.wrapping_mul(2_654_435_761) % 3_000_000_000
}

fn key(n: u64) -> String {
    format!(
        "institution-{}.edu/bag-{:05}/data/file-{n:08}.tiff",
        n % 23,
        n % 10_007
    )
}
