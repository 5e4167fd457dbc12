//! Which columns can contain something about a person, and what an erasure does with each of them.
//!
//! `columns.txt` lists every column that holds a text or bytes. A test compares it with the schema, so a new column must be classified
//! before it can be merged.

/// What an erasure does with a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing: it contains nothing about a person of the directory.
    Plain,
    /// Nothing: it is about the people who work with Candor.
    Staff,
    /// A part of the erasure of its own changes or deletes it.
    Own,
    /// The person is removed in the text.
    Text,
    /// The person is removed in the JSON.
    Json,
    /// The person is removed in the text of drafts.
    Draft,
    /// It cannot be changed. The erasure counts where the person still stands in it.
    Left,
}

/// A column with its treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name of the table.
    pub table: &'static str,
    /// The name of the column.
    pub column: &'static str,
    /// What an erasure does with it.
    pub treatment: Treatment,
}

/// Returns all columns that hold a text or bytes.
pub fn columns() -> Vec<Column> {
    include_str!("columns.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| {
            let (table, columns) = line.split_once(' ').unwrap_or((line, ""));
            columns.split(' ').filter_map(move |one| {
                let (column, word) = one.split_once(':')?;
                Some(Column {
                    table,
                    column,
                    treatment: treatment(word)?,
                })
            })
        })
        .collect()
}

fn treatment(word: &str) -> Option<Treatment> {
    Some(match word {
        "plain" => Treatment::Plain,
        "staff" => Treatment::Staff,
        "own" => Treatment::Own,
        "text" => Treatment::Text,
        "json" => Treatment::Json,
        "draft" => Treatment::Draft,
        "left" => Treatment::Left,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let written = include_str!("columns.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(' ').count() - 1)
            .sum::<usize>();
        assert_eq!(columns().len(), written);
        assert!(written > 300);
    }
}
