//! Statements that SQLite and PostgreSQL both understand, with numbered parameters.

use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Encode, Type,
    any::{AnyArguments, AnyRow},
    error::BoxDynError,
};

/// Parameters that one statement may have: SQLite takes 32,766, PostgreSQL 65,535.
pub(super) const MAX_PARAMETERS: usize = 30_000;

/// Text and parameters of a statement in the making.
pub(super) struct Statement {
    text: String,
    arguments: AnyArguments,
    parameters: usize,
    failed: Option<BoxDynError>,
    /// Its text is always the same: worth to be kept prepared.
    fixed: bool,
}

/// `$1`-style placeholders are made for these.
pub(super) trait Parameter: for<'q> Encode<'q, Any> + Type<Any> {}

// === impl Statement ===

impl Statement {
    /// Begins with a text without parameters.
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            arguments: AnyArguments::default(),
            parameters: 0,
            failed: None,
            fixed: true,
        }
    }

    /// Goes on with a text without parameters.
    pub(super) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with a parameter.
    pub(super) fn bind(mut self, value: impl Parameter) -> Self {
        self.add(value);
        self
    }

    /// Goes on with `($1, $2, …)`; no values at all are a list that contains nothing.
    pub(super) fn list<T: Parameter>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        self.fixed = false;
        self.text.push('(');
        let before = self.parameters;
        for value in values {
            self.separate(before);
            self.add(value);
        }
        if self.parameters == before {
            self.text.push_str("NULL");
        }
        self.text.push(')');
        self
    }

    /// Goes on with `($1, $2), ($3, $4), …`: a row for each item, filled in by `fill`.
    pub(super) fn rows<T>(
        mut self,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Values<'_>, T),
    ) -> Self {
        self.fixed = false;
        for (at, item) in items.into_iter().enumerate() {
            self.text.push_str(if at == 0 { "(" } else { ", (" });
            let before = self.parameters;
            fill(&mut Values { statement: &mut self, before }, item);
            self.text.push(')');
        }
        self
    }

    /// Runs it; gives the number of rows that it changed.
    pub(super) async fn execute(self, connection: &mut AnyConnection) -> sqlx::Result<u64> {
        let (text, arguments, fixed) = self.finish()?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(fixed);
        Ok(query.execute(connection).await?.rows_affected())
    }

    /// Runs it; gives its rows.
    pub(super) async fn fetch(self, connection: &mut AnyConnection) -> sqlx::Result<Vec<AnyRow>> {
        let (text, arguments, fixed) = self.finish()?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(fixed);
        query.fetch_all(connection).await
    }

    fn finish(self) -> sqlx::Result<(String, AnyArguments, bool)> {
        match self.failed {
            Some(failed) => Err(sqlx::Error::Encode(failed)),
            None => Ok((self.text, self.arguments, self.fixed)),
        }
    }

    fn add(&mut self, value: impl Parameter) {
        use sqlx::Arguments as _;
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(error);
        }
        self.parameters += 1;
        self.text.push('$');
        self.text.push_str(&self.parameters.to_string());
    }

    fn separate(&mut self, first: usize) {
        if self.parameters > first {
            self.text.push_str(", ");
        }
    }
}

/// The values of one row in the making.
pub(super) struct Values<'a> {
    statement: &'a mut Statement,
    before: usize,
}

// === impl Values ===

impl Values<'_> {
    /// The next value.
    pub(super) fn bind(&mut self, value: impl Parameter) -> &mut Self {
        self.statement.separate(self.before);
        self.statement.add(value);
        self
    }
}

// === impl Parameter ===

impl<T: for<'q> Encode<'q, Any> + Type<Any>> Parameter for T {}
