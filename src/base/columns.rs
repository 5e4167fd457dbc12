//! The macros that store newtypes and enums of words in database columns. Typed IDs and times both use the
//! first, and neither of them depends on the other.

/// Lets a newtype be stored in the same columns as the type that it wraps, on every database.
macro_rules! newtype_columns {
    ($name:ident, $sql:ty, $inner:ty) => {
        impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<$sql, DB> for $name
        where
            $inner: diesel::deserialize::FromSql<$sql, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                <$inner as diesel::deserialize::FromSql<$sql, DB>>::from_sql(bytes).map($name)
            }
        }
        impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<$sql, DB> for $name
        where
            $inner: diesel::serialize::ToSql<$sql, DB>,
        {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, DB>,
            ) -> diesel::serialize::Result {
                diesel::serialize::ToSql::<$sql, DB>::to_sql(&self.0, out)
            }
        }
    };
}
pub(crate) use newtype_columns;

/// Lets a `word_enum!` be stored in a text column as its word. The enum must derive `AsExpression` and
/// `FromSqlRow` for `Text`. Reading an unknown word is an error.
macro_rules! word_columns {
    ($name:ident) => {
        impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $name
        where
            String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                let word =
                    <String as diesel::deserialize::FromSql<diesel::sql_types::Text, DB>>::from_sql(bytes)?;
                Ok($name::parse(&word)?)
            }
        }
        impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for $name
        where
            str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, DB>,
            ) -> diesel::serialize::Result {
                diesel::serialize::ToSql::<diesel::sql_types::Text, DB>::to_sql(self.as_str(), out)
            }
        }
    };
}
pub(crate) use word_columns;
