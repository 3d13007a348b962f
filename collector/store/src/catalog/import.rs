//! Files that were made elsewhere: taken over once, whoever brings them how often.

use std::collections::{BTreeSet, HashSet};

use sqlx::Row as _;

use super::{
    Catalog, CatalogError, FileId, NewFile,
    database::{Change, Outcome, Transaction},
    files::{self, Encoded},
    sql::{MAX_PARAMETERS, Statement},
};

/// A file that is there and was made elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// As it is here.
    pub file: NewFile,
    /// Its samples are in the next level, too.
    pub rolled: bool,
    /// What it was there, in a word that identifies it for good: it is remembered, see
    /// [`Catalog::imported`].
    pub origin: String,
}

/// What the names of rows of `meta` begin with that remember an origin.
const ORIGIN: &str = "import/";
/// For messages.
const ACTION: &str = "look up what was imported into";

struct Import<'a> {
    unrolled: Vec<Encoded<'a>>,
    rolled: Vec<Encoded<'a>>,
    origins: BTreeSet<&'a str>,
    now: i64,
}

// === impl Catalog ===

impl Catalog {
    /// Whether new files could be committed as far as they themselves are concerned. Asks nobody.
    ///
    /// # Errors
    /// When a file contradicts itself.
    pub fn verify<'a>(files: impl IntoIterator<Item = &'a NewFile>) -> Result<(), CatalogError> {
        files.into_iter().try_for_each(|file| Encoded::new(file).map(drop))
    }

    /// Takes files over, all or none, and remembers where they come from; `false`, and nothing is done,
    /// when the id of one is known here already.
    ///
    /// # Errors
    /// When the database fails, or a file contradicts itself.
    pub async fn import(&self, files: &[Foreign], now: i64) -> Result<bool, CatalogError> {
        let encoded = |rolled| {
            let files = files.iter().filter(move |it| it.rolled == rolled);
            files.map(|it| Encoded::new(&it.file)).collect::<Result<Vec<_>, _>>()
        };
        let origins = files.iter().map(|it| it.origin.as_str()).collect();
        let import = Import { unrolled: encoded(false)?, rolled: encoded(true)?, origins, now };
        self.database.change(&import).await
    }

    /// Those of these origins from which something was imported once, whether or not it is still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn imported(&self, origins: &[&str]) -> Result<HashSet<String>, CatalogError> {
        let mut imported = HashSet::new();
        for chunk in origins.chunks(MAX_PARAMETERS) {
            let statement = Statement::new("SELECT name FROM meta WHERE name IN ");
            let statement = statement.list(chunk.iter().map(|it| format!("{ORIGIN}{it}")));
            for row in self.database.read(ACTION, statement).await? {
                let name = row.try_get::<String, _>(0);
                let name = name.map_err(|source| self.database.failed(ACTION, source))?;
                imported.insert(name.trim_start_matches(ORIGIN).to_owned());
            }
        }
        Ok(imported)
    }
}

// === impl Import ===

impl Import<'_> {
    fn files(&self) -> impl Iterator<Item = &NewFile> {
        self.unrolled.iter().chain(&self.rolled).map(|encoded| encoded.file)
    }
}

impl Change for Import<'_> {
    type Answer = bool;

    const ACTION: &'static str = "import files into";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<bool>, CatalogError> {
        // Two imports at once would both find that an id is free. The row of the format is there for
        // sure and is never changed.
        let lock = Statement::new("SELECT name FROM meta WHERE name = 'format'");
        transaction.fetch(lock.push(transaction.lock())).await?;
        let ids: Vec<FileId> = self.files().map(|file| file.id).collect();
        for chunk in ids.chunks(MAX_PARAMETERS) {
            let statement = Statement::new("SELECT id FROM files WHERE id IN ");
            let statement = statement.list(chunk.iter().map(|id| id.number()));
            if !transaction.fetch(statement).await?.is_empty() {
                return Ok(Outcome::Undo(false));
            }
        }
        files::insert(transaction, &self.unrolled, false, self.now).await?;
        files::insert(transaction, &self.rolled, true, self.now).await?;
        let origins: Vec<&&str> = self.origins.iter().collect();
        for chunk in origins.chunks(MAX_PARAMETERS / 2) {
            let statement = Statement::new("INSERT INTO meta (name, value) VALUES ");
            let statement = statement.rows(chunk, |values, origin| {
                values.bind(format!("{ORIGIN}{origin}")).bind(self.now.to_string());
            });
            let statement =
                statement.push(" ON CONFLICT (name) DO UPDATE SET value = excluded.value");
            transaction.execute(statement).await?;
        }
        Ok(Outcome::Keep(true))
    }
}
