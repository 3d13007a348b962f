//! The columns of tables, from those of the files.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use fleetprof_store::{FileKind, columns};
use iceberg::spec::{
    ListType, MapType, MappedField, NameMapping, NestedField, NestedFieldRef, PrimitiveType,
    Schema, StructType, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// What is said of a column that tables cannot have: a defect, found by the tests.
type Defect = String;

/// The schema of the tables of a kind of files.
pub(crate) fn schema(kind: FileKind) -> Result<Schema, Defect> {
    let columns = columns(kind);
    let fields =
        columns.fields().iter().map(|field| column(field)).collect::<Result<Vec<_>, _>>()?;
    let schema = Schema::builder().with_schema_id(0).with_fields(fields).build();
    schema.map_err(|error| error.to_string())
}

/// Numbers by name, for files that were written before columns had numbers.
pub(crate) fn name_mapping(schema: &Schema) -> NameMapping {
    NameMapping::new(schema.as_struct().fields().iter().map(|field| mapped(field)).collect())
}

fn mapped(field: &NestedField) -> MappedField {
    let children: Vec<&NestedFieldRef> = match &*field.field_type {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(inner) => inner.fields().iter().collect(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
    };
    let children = children.into_iter().map(|child| mapped(child)).collect();
    MappedField::new(Some(field.id), vec![field.name.clone()], children)
}

fn column(field: &Field) -> Result<NestedFieldRef, Defect> {
    let (id, inside) = (number(field)?, of(field)?);
    Ok(Arc::new(NestedField::new(id, field.name(), inside, !field.is_nullable())))
}

fn number(field: &Field) -> Result<i32, Defect> {
    let number = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("column {} has no number", field.name()))
}

fn of(field: &Field) -> Result<Type, Defect> {
    let primitive = match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Utf8 => PrimitiveType::String,
        DataType::Dictionary(_, texts) if **texts == DataType::Utf8 => PrimitiveType::String,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Struct(inner) => {
            let fields = inner.iter().map(|field| column(field)).collect::<Result<Vec<_>, _>>()?;
            return Ok(Type::Struct(StructType::new(fields)));
        }
        DataType::List(element) => {
            let inside =
                NestedField::list_element(number(element)?, of(element)?, !element.is_nullable());
            return Ok(Type::List(ListType::new(Arc::new(inside))));
        }
        DataType::Map(entry, _) => return map(entry),
        other => return Err(format!("column {} has the type {other}", field.name())),
    };
    Ok(Type::Primitive(primitive))
}

fn map(entry: &Field) -> Result<Type, Defect> {
    let inner = match entry.data_type() {
        DataType::Struct(inner) => inner.as_ref(),
        _ => &[],
    };
    let [key, value] = inner else {
        return Err(format!("{} has no key and value", entry.name()));
    };
    Ok(Type::Map(MapType::new(
        Arc::new(NestedField::map_key_element(number(key)?, of(key)?)),
        Arc::new(NestedField::map_value_element(number(value)?, of(value)?, !value.is_nullable())),
    )))
}

#[cfg(test)]
mod tests;
