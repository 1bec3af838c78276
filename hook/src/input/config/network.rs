//! A network of the configuration: annotation keys and their values. A word that nobody knows is refused where it
//! stands; what a value means is found out by whoever uses the network.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::input::annotations;
use crate::input::nearest;

/// A network of the configuration: annotation keys and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkTable(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for NetworkTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor)
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = NetworkTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of annotation keys and their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NetworkTable, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(Key(key)) = map.next_key()? {
            let value =
                if key == "driver" { map.next_value::<Driver>()?.0 } else { map.next_value::<Value>()?.0 };
            values.insert(key, value);
        }
        Ok(NetworkTable(values))
    }
}

/// A key that a network may have. It is checked while the parser still knows where it stands.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match annotations::key(&name) {
            Some(key) if key.of_networks => Ok(Self(name)),
            Some(_) => {
                Err(D::Error::custom(format_args!("`{name}` belongs to a container, not to a network")))
            }
            None => {
                let instead = annotations::instead_of(&name, |key| format!("`{key}`"));
                Err(D::Error::custom(format_args!("unknown field `{name}`, {instead}")))
            }
        }
    }
}

/// The name of a driver that there is.
struct Driver(String);

impl<'de> Deserialize<'de> for Driver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value(name) = Value::deserialize(deserializer)?;
        match nearest::driver(&name) {
            Ok(_) => Ok(Self(name)),
            Err(unknown) => Err(D::Error::custom(format_args!("{unknown}, {}", unknown.hint()))),
        }
    }
}

/// A value, as the annotation of its key would have it.
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value(text.to_owned()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value(truth.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items: Vec<String> = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value(items.join(",")))
    }
}
