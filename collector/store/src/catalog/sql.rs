//! Statements that SQLite and PostgreSQL both understand.

use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Encode, Type,
    any::{AnyArguments, AnyRow},
    error::BoxDynError,
};

use super::database::Engine;

/// Parameters that one statement may have: SQLite takes 32,766, PostgreSQL 65,535.
pub(super) const MAX_PARAMETERS: usize = 30_000;

/// Text and parameters of a statement in the making.
pub(super) struct Statement {
    /// With a `?` for each parameter, and no others.
    text: String,
    arguments: AnyArguments,
    parameters: usize,
    failed: Option<BoxDynError>,
    /// Its text is always the same: worth to be kept prepared.
    fixed: bool,
}

/// What a parameter can be.
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

    /// Goes on with `(?, ?, …)`; no values at all are a list that contains nothing.
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

    /// Goes on with `(?, ?), (?, ?), …`: a row for each item, filled in by `fill`.
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
    pub(super) async fn execute(
        self,
        on: Engine,
        connection: &mut AnyConnection,
    ) -> sqlx::Result<u64> {
        let (text, arguments, fixed) = self.finish(on)?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(fixed);
        Ok(query.execute(connection).await?.rows_affected())
    }

    /// Runs it; gives its rows.
    pub(super) async fn fetch(
        self,
        on: Engine,
        connection: &mut AnyConnection,
    ) -> sqlx::Result<Vec<AnyRow>> {
        let (text, arguments, fixed) = self.finish(on)?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(fixed);
        query.fetch_all(connection).await
    }

    /// PostgreSQL wants parameters numbered. SQLite understands that too, but then takes time by the
    /// square of their number: minutes for 30,000.
    fn finish(self, engine: Engine) -> sqlx::Result<(String, AnyArguments, bool)> {
        if let Some(failed) = self.failed {
            return Err(sqlx::Error::Encode(failed));
        }
        let text = match engine {
            Engine::Sqlite => self.text,
            Engine::Postgres => {
                let mut pieces = self.text.split('?');
                let mut text = pieces.next().unwrap_or_default().to_owned();
                for (at, piece) in pieces.enumerate() {
                    text.push('$');
                    text.push_str(&(at + 1).to_string());
                    text.push_str(piece);
                }
                text
            }
        };
        Ok((text, self.arguments, self.fixed))
    }

    fn add(&mut self, value: impl Parameter) {
        use sqlx::Arguments as _;
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(error);
        }
        self.parameters += 1;
        self.text.push('?');
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
