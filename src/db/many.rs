//! Many new rows of one table at once, by statements that are the same however many they are, and stay prepared: SQLite
//! takes one after another, PostgreSQL a list for each column. A statement with a place for every value of every row would be
//! parsed and planned anew each time, which takes longer than to carry it out.
//!
//! Must never happen here: a column that is named and not given, or rows that replace others.

/// Inserts rows (`Insertable`) into a table: its module, its name, and for each column the type and where a row has it.
macro_rules! insert_many {
    ($conn:expr, $table:path, $name:literal, $rows:expr, { $($column:ident: $type:ty = $value:expr),+ $(,)? }) => {{
        let rows = $rows;
        match &mut *$conn {
            $crate::db::Conn::Sqlite(conn) => {
                for row in rows {
                    diesel::insert_into($table).values(row).execute(conn)?;
                }
            }
            $crate::db::Conn::Pg(conn) => match rows {
                [] => {}
                [row] => {
                    diesel::insert_into($table).values(row).execute(conn)?;
                }
                rows => {
                    let names = [$(stringify!($column)),+];
                    let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
                    let text = format!(
                        "INSERT INTO {} ({}) SELECT * FROM UNNEST({})",
                        $name,
                        names.join(", "),
                        places.join(", ")
                    );
                    let query = diesel::sql_query(text)
                        $(.bind::<diesel::sql_types::Array<$type>, _>(rows.iter().map($value).collect::<Vec<_>>()))+;
                    $crate::db::Fix::fixed(query).execute(conn)?;
                }
            },
        }
    }};
}
pub(crate) use insert_many;
