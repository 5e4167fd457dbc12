//! The statements that read and count the rows of a query.

use serde_json::Value;

/// Returns a value of a key as a literal, for databases that give a literal the type of the column that it is
/// compared with.
fn literal(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) if text.contains('\0') => Err("a key contains a NUL character".to_owned()),
        Value::String(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a key is neither a text nor a number".to_owned())
        }
    }
}

/// Returns the statement of a page that continues after the last key, for databases that can compare whole
/// rows.
pub(super) fn page_statement(
    query: &str,
    key: &[&str],
    after: Option<&[Value]>,
    limit: usize,
) -> Result<String, String> {
    let columns: Vec<String> = key.iter().map(|column| format!("q.\"{column}\"")).collect();
    let mut conditions: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} IS NOT NULL"))
        .collect();
    let columns = columns.join(", ");
    if let Some(last) = after {
        let last = last.iter().map(literal).collect::<Result<Vec<_>, _>>()?;
        conditions.push(format!("({columns}) > ({})", last.join(", ")));
    }
    let condition = conditions.join(" AND ");
    // The line break ends a comment at the end of the query.
    Ok(format!(
        "SELECT * FROM (\n{query}\n) AS q WHERE {condition} ORDER BY {columns} LIMIT {limit}"
    ))
}

pub(super) fn count_statement(query: &str, key: &[&str], quote: char) -> String {
    let there: Vec<String> = key
        .iter()
        .map(|column| format!("q.{quote}{column}{quote} IS NOT NULL"))
        .collect();
    format!(
        "SELECT COUNT(*) AS n, COUNT(CASE WHEN {} THEN 1 END) AS keyed FROM (\n{query}\n) AS q",
        there.join(" AND ")
    )
}
