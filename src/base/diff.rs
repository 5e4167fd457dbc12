//! The difference between two texts, line by line.

/// A line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffLine<'a> {
    /// The line is in both texts.
    Same(&'a str),
    /// The line is only in the earlier text.
    Removed(&'a str),
    /// The line is only in the later text.
    Added(&'a str),
}

/// The largest product of the numbers of lines that are compared one by one.
const MOST: usize = 4_000_000;

/// Returns the difference between two texts: the fewest lines that were removed and added. If the texts are too long to find that
/// quickly, the whole changed middle is removed and added.
pub fn lines<'a>(before: &'a str, after: &'a str) -> Vec<DiffLine<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let start = old
        .iter()
        .zip(&new)
        .take_while(|(one, other)| one == other)
        .count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let (old_middle, same_end) = old_rest.split_at(old_rest.len() - end);
    let new_middle = &new_rest[..new_rest.len() - end];
    let mut found: Vec<DiffLine<'a>> = old[..start].iter().map(|line| DiffLine::Same(line)).collect();
    found.extend(middle(old_middle, new_middle));
    found.extend(same_end.iter().map(|line| DiffLine::Same(line)));
    found
}

fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<DiffLine<'a>> {
    let removed = |line: &&'a str| DiffLine::Removed(line);
    let added = |line: &&'a str| DiffLine::Added(line);
    if old.len().saturating_mul(new.len()) > MOST {
        return old.iter().map(removed).chain(new.iter().map(added)).collect();
    }
    // The length of the longest common part of what begins at each pair of lines.
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            longest[i * width + j] = if one == other {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            found.push(DiffLine::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            found.push(DiffLine::Removed(old[i]));
            i += 1;
        } else {
            found.push(DiffLine::Added(new[j]));
            j += 1;
        }
    }
    found.extend(old[i..].iter().map(removed));
    found.extend(new[j..].iter().map(added));
    found
}

#[cfg(test)]
mod tests {
    use super::DiffLine::{Added, Removed, Same};
    use super::*;

    #[test]
    fn a_difference_has_the_fewest_lines() {
        assert_eq!(
            lines("a\nb\nc\nd", "a\nx\nc\nd\ne"),
            [
                Same("a"),
                Removed("b"),
                Added("x"),
                Same("c"),
                Same("d"),
                Added("e")
            ]
        );
        assert_eq!(lines("", "a"), [Added("a")]);
        assert_eq!(lines("a\nb", ""), [Removed("a"), Removed("b")]);
        assert_eq!(lines("a\na", "a"), [Same("a"), Removed("a")]);
    }

    #[test]
    fn both_texts_can_be_read_from_a_difference() {
        let before = "one\ntwo\nthree\nfour\nfive";
        let after = "zero\none\nthree\nthree\nfive\nsix";
        let of = |later: bool| {
            let difference = lines(before, after);
            let kept = difference.iter().filter_map(|line| match line {
                Same(line) => Some(*line),
                Added(line) if later => Some(*line),
                Removed(line) if !later => Some(*line),
                _ => None,
            });
            kept.collect::<Vec<_>>().join("\n")
        };
        assert_eq!((of(false).as_str(), of(true).as_str()), (before, after));
    }
}
