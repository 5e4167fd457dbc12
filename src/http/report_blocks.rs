//! The text of a section of a report, for the partial `report-blocks`.

use serde_json::{Value, json};

use crate::incident::report::{Block, blocks};

/// Returns the parts of a text. Each has exactly one value that is not null.
pub(super) fn shown(text: &str) -> Vec<Value> {
    let one = |paragraph: Value, list: Value, numbered: Value, table: Value| json!({"paragraph": paragraph, "list": list, "numbered": numbered, "table": table});
    blocks(text)
        .into_iter()
        .map(|block| match block {
            Block::Paragraph(text) => one(json!(text), Value::Null, Value::Null, Value::Null),
            Block::List(items) => one(Value::Null, json!(items), Value::Null, Value::Null),
            Block::Numbered(items) => one(Value::Null, Value::Null, json!(items), Value::Null),
            Block::Table(head, rows) => one(
                Value::Null,
                Value::Null,
                Value::Null,
                json!({"head": head, "rows": rows}),
            ),
        })
        .collect()
}
