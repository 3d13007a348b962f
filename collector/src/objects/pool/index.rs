//! What this collector knows of the tables of all. Pure.

use std::collections::HashMap;

use fleetprof_proto::ids::ObjectId;
use fleetprof_store::{FileId, SymbolContent, SymbolTable};
use fleetprof_symbolizer::{CONVERTER_VERSION, identity::SymbolLevel};

use super::merit;

/// The shared tables, and how good this collector's own are.
#[derive(Debug, Default)]
pub(super) struct Index {
    shared: HashMap<ObjectId, Entry>,
    /// Merit of the table that is in this collector's directory, once somebody has looked.
    own: HashMap<ObjectId, u32>,
}

#[derive(Debug)]
struct Entry {
    table: SymbolTable,
    /// Another version's, which this one cannot read.
    is_strange: bool,
}

/// What came of changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Objects that have a table, or another one than before.
    pub(super) gained: Vec<ObjectId>,
    /// Tables that are no more.
    pub(super) lost: Vec<FileId>,
    /// Those in whose place no other came.
    pub(super) missed: Vec<SymbolTable>,
}

// === impl Index ===

impl Index {
    /// How many objects have one.
    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    /// Takes changes over. They may come twice, and those of one moment in any order.
    pub(super) fn apply(&mut self, changes: Vec<SymbolTable>) -> News {
        let mut news = News::default();
        for table in changes {
            let known = self.shared.get(&table.object).map(|entry| entry.table.id);
            if table.retired {
                news.lost.push(table.id);
                if known == Some(table.id) {
                    self.shared.remove(&table.object);
                    news.missed.push(table);
                }
            } else if known != Some(table.id) {
                news.lost.extend(known);
                news.gained.push(table.object.clone());
                self.shared.insert(table.object.clone(), Entry { table, is_strange: false });
            }
        }
        news.missed.retain(|table| !self.shared.contains_key(&table.object));
        news
    }

    /// Whether nobody needs to be asked for an object: it has a table, or can have none.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.shared.get(id).is_some_and(|entry| match entry.table.content {
            SymbolContent::Table(_) | SymbolContent::Listing(_) => !entry.is_strange,
            // What an older converter could not do this one tries again.
            SymbolContent::None(_) => entry.table.converter >= CONVERTER_VERSION,
        })
    }

    /// How much the files said of which the table was made, if there is one.
    pub(super) fn level(&self, id: &ObjectId) -> Option<SymbolLevel> {
        let entry = self.shared.get(id).filter(|_| self.has(id))?;
        Some(merit::level_of(entry.table.level))
    }

    /// Whether somebody is to be asked for an object: nothing is there, or less than is offered.
    pub(super) fn lacks(&self, id: &ObjectId, offered: Option<SymbolLevel>) -> bool {
        match (self.level(id), offered) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(known), Some(offered)) => offered > known,
        }
    }

    /// The table of an object that is better than what this collector has, if it `has_own`.
    pub(super) fn best(&self, id: &ObjectId, has_own: bool) -> Option<&SymbolTable> {
        let table = &self.shared.get(id).filter(|_| self.has(id))?.table;
        // Nobody has looked yet: its own will do for now.
        let own = self.own.get(id).copied().unwrap_or(u32::MAX);
        (!has_own || table.merit > own).then_some(table)
    }

    /// Notes how good this collector's own table is; answers whether the others lack it.
    pub(super) fn own(&mut self, id: &ObjectId, merit: u32) -> bool {
        if merit != merit::NONE {
            self.own.insert(id.clone(), merit);
        }
        self.shared.get(id).is_none_or(|entry| {
            (merit, CONVERTER_VERSION) > (entry.table.merit, entry.table.converter)
        })
    }

    /// Notes that this version cannot read a table.
    pub(super) fn is_strange(&mut self, table: &SymbolTable) {
        let entry = self.shared.get_mut(&table.object);
        if let Some(entry) = entry.filter(|entry| entry.table.id == table.id) {
            entry.is_strange = true;
        }
    }

    /// Whether anything is known of an object.
    pub(super) fn knows(&self, id: &ObjectId) -> bool {
        self.shared.contains_key(id)
    }

    /// Of objects that profiles of a day have code of, those of which it is not known.
    pub(super) fn unused(&self, ids: &[ObjectId], day: i64) -> Vec<ObjectId> {
        let is_due =
            |id: &&ObjectId| self.shared.get(*id).is_some_and(|entry| entry.table.used < day);
        ids.iter().filter(is_due).cloned().collect()
    }

    /// Notes that it is known now.
    pub(super) fn used(&mut self, ids: &[ObjectId], day: i64) {
        for id in ids {
            if let Some(entry) = self.shared.get_mut(id) {
                entry.table.used = day;
            }
        }
    }

    /// Everything that is there.
    pub(super) fn tables(&self) -> impl Iterator<Item = &SymbolTable> {
        self.shared.values().map(|entry| &entry.table)
    }
}

#[cfg(test)]
mod tests {
    use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};
    use fleetprof_store::Blob;

    use super::*;

    fn object(byte: u8) -> ObjectId {
        let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
        ObjectId { kind: ObjectKind::File, build_id }
    }

    fn table(byte: u8, merit: u32) -> SymbolTable {
        let blob = Blob { path: "symbols/x.symtab".to_owned(), bytes: 1, crc32c: 0 };
        SymbolTable {
            id: FileId::random(),
            object: object(byte),
            content: SymbolContent::Table(blob),
            merit,
            level: 1,
            converter: CONVERTER_VERSION,
            used: 10,
            retired: false,
        }
    }

    fn retired(table: &SymbolTable) -> SymbolTable {
        SymbolTable { retired: true, ..table.clone() }
    }

    /// Check that of a table and what took its place the latter stays, in whatever order they come.
    #[test]
    fn changes_come_in_any_order() {
        let (first, second) = (table(1, 1), table(1, 2));
        for changes in [
            vec![first.clone(), retired(&first), second.clone()],
            vec![first.clone(), second.clone(), retired(&first)],
            vec![second.clone(), retired(&first), second.clone()],
        ] {
            let mut index = Index::default();
            index.apply(changes);
            assert_eq!(index.best(&object(1), false), Some(&second));
        }
        let mut index = Index::default();
        let news = index.apply(vec![first.clone()]);
        assert_eq!((news.gained, news.lost), (vec![object(1)], Vec::new()));
        assert_eq!(index.apply(vec![second.clone()]).lost, [first.id]);
        let news = index.apply(vec![retired(&second)]);
        assert_eq!((news.lost, news.missed), (vec![second.id], vec![retired(&second)]));
        let news = index.apply(vec![second.clone(), retired(&second), first.clone()]);
        assert_eq!(news.missed, []);
        index.apply(vec![retired(&first)]);
        assert_eq!((index.has(&object(1)), index.len()), (false, 0));
    }

    /// Check which objects somebody is asked for, and whose table names code.
    #[test]
    fn the_better_table_counts() {
        let mut index = Index::default();
        assert!(index.lacks(&object(1), None));
        assert!(index.own(&object(1), 5), "the others have none");
        let shared = table(1, 5);
        index.apply(vec![shared.clone()]);
        assert!(!index.own(&object(1), 5) && index.own(&object(1), 6));
        assert_eq!(index.best(&object(1), true), None);
        assert_eq!(index.best(&object(1), false), Some(&shared), "its own is gone");
        index.own(&object(1), 4);
        assert_eq!(index.best(&object(1), true), Some(&shared));
        assert!(!index.lacks(&object(1), None));
        assert!(!index.lacks(&object(1), Some(SymbolLevel::Functions)));
        assert!(index.lacks(&object(1), Some(SymbolLevel::DebugInfo)));
        index.is_strange(&shared);
        assert!(index.lacks(&object(1), None) && index.best(&object(1), false).is_none());

        let none = |converter| SymbolTable {
            content: SymbolContent::None("why".to_owned()),
            converter,
            ..table(2, merit::NONE)
        };
        index.apply(vec![none(CONVERTER_VERSION)]);
        assert!(index.has(&object(2)) && !index.own(&object(2), merit::NONE));
        assert!(index.own(&object(2), merit::LISTING));
        index.apply(vec![none(0)]);
        assert!(!index.has(&object(2)));
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let mut index = Index::default();
        index.apply(vec![table(1, 1), table(2, 1)]);
        let ids = [object(1), object(2), object(3)];
        assert_eq!(index.unused(&ids, 10), []);
        assert_eq!(index.unused(&ids, 11), ids[..2]);
        index.used(&ids[1..], 11);
        assert_eq!(index.unused(&ids, 11), ids[..1]);
    }
}
