//! A whole table as a file: what a release has left behind, to be gone on with by a later one. Items are written as DynamoDB
//! itself spells them, types and all.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::base64;
use serde_json::{Map, Value, json};

use crate::World;

type Item = std::collections::HashMap<String, AttributeValue>;

impl World {
    /// Every item of the table, in the order of their keys.
    pub async fn save(&self) -> anyhow::Result<Vec<Value>> {
        let mut items = BTreeMap::new();
        let mut from = None;
        loop {
            let scan = self.client.scan().table_name(&self.name).consistent_read(true);
            let page = scan.set_exclusive_start_key(from).send().await?;
            for item in page.items() {
                let written = written(item)?;
                items.insert((written["pk"].to_string(), written["sk"].to_string()), written);
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(items.into_values().collect());
            }
        }
    }

    /// Puts items into the table, over those of the same keys.
    pub async fn load(&self, items: &[Value]) -> anyhow::Result<()> {
        for item in items {
            let put = self.client.put_item().table_name(&self.name).set_item(Some(read(item)?));
            put.send().await.with_context(|| format!("{} {}", item["pk"], item["sk"]))?;
        }
        Ok(())
    }
}

/// An item in DynamoDB's JSON.
fn written(item: &Item) -> anyhow::Result<Value> {
    let names: anyhow::Result<BTreeMap<_, _>> =
        item.iter().map(|(name, value)| Ok((name.clone(), typed(value)?))).collect();
    Ok(names?.into_iter().collect::<Map<_, _>>().into())
}

fn typed(value: &AttributeValue) -> anyhow::Result<Value> {
    Ok(match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::Bool(yes) => json!({ "BOOL": yes }),
        AttributeValue::B(bytes) => json!({ "B": base64::encode(bytes) }),
        AttributeValue::M(map) => json!({ "M": written(map)? }),
        AttributeValue::L(list) => {
            json!({ "L": list.iter().map(typed).collect::<anyhow::Result<Vec<_>>>()? })
        }
        other => anyhow::bail!("no item has a value like {other:?}"),
    })
}

fn read(item: &Value) -> anyhow::Result<Item> {
    let names = item.as_object().context("an item is an object")?;
    names.iter().map(|(name, value)| Ok((name.clone(), value_of(value)?))).collect()
}

fn value_of(value: &Value) -> anyhow::Result<AttributeValue> {
    let (of, value) =
        value.as_object().and_then(|typed| typed.iter().next()).context("a value has a type")?;
    let text = || value.as_str().map(str::to_owned).context("a text");
    Ok(match of.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(text()?),
        "BOOL" => AttributeValue::Bool(value.as_bool().context("true or false")?),
        "B" => AttributeValue::B(Blob::new(base64::decode(text()?)?)),
        "M" => AttributeValue::M(read(value)?),
        "L" => {
            let list = value.as_array().context("a list")?;
            AttributeValue::L(list.iter().map(value_of).collect::<anyhow::Result<_>>()?)
        }
        other => anyhow::bail!("no type is called {other}"),
    })
}
