//! Changes to the structure of a JSON text: values of another type, members gone, doubled, renamed
//! or moved, pieces of other recorded texts, things that are deep, long or many.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::{piece, size, words};

/// A JSON text taken apart, just as far as it takes to change it. Leaves are kept as the text that
/// will be written, so that they can be what no JSON value could be: broken, huge, deep.
#[derive(Debug, Clone)]
pub enum Node {
    /// Written as it is.
    Raw(String),
    /// A list.
    List(Vec<Node>),
    /// An object; keys with their quotes, in any order, doubled where a change doubled them.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Takes a JSON text apart; `None` if it is none.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Value>(text).ok().as_ref().map(Self::from)
    }

    /// The text.
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    fn write_to(&self, text: &mut String) {
        match self {
            Self::Raw(raw) => text.push_str(raw),
            Self::List(items) => {
                text.push('[');
                for (n, item) in items.iter().enumerate() {
                    text.push_str(if n == 0 { "" } else { "," });
                    item.write_to(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    text.push_str(if n == 0 { "" } else { "," });
                    text.push_str(key);
                    text.push(':');
                    value.write_to(text);
                }
                text.push('}');
            }
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Raw(_) => 0,
            Self::List(items) => items.iter().map(Self::count).sum(),
            Self::Object(members) => members.iter().map(|(_, value)| value.count()).sum(),
        }
    }

    /// The node at `place`, counted from the outermost one; `place` is used up on the way.
    fn find(&mut self, place: &mut usize) -> Option<&mut Self> {
        if *place == 0 {
            return Some(self);
        }
        *place -= 1;
        match self {
            Self::Raw(_) => None,
            Self::List(items) => items.iter_mut().find_map(|item| item.find(place)),
            Self::Object(members) => members.iter_mut().find_map(|(_, value)| value.find(place)),
        }
    }

    /// Any node of the tree. Shallow ones hold what readers look at, so they come up more often.
    fn any(&mut self, rng: &mut StdRng) -> &mut Self {
        let count = self.count();
        let below = if rng.random() { count } else { count.min(40) };
        let mut place = rng.random_range(0..below);
        self.find(&mut place).expect("the place is below the count")
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Object(members.iter().map(|(key, value)| (words::quoted(key), value.into())).collect())
            }
            leaf => Self::Raw(leaf.to_string()),
        }
    }
}

/// Changes one thing. `donor` is another text to take a piece from, `most` bounds what is added.
pub fn change(root: &mut Node, donor: &mut Node, rng: &mut StdRng, most: usize) {
    match rng.random_range(0..20) {
        0..=6 => *root.any(rng) = Node::Raw(words::odd_value(rng, most)),
        7..=8 => *root.any(rng) = donor.any(rng).clone(),
        9 => {
            let other = root.any(rng).clone();
            *root.any(rng) = other;
        }
        10 => wrap(root.any(rng), rng),
        11 => turn_over(root.any(rng)),
        _ => change_members(container(root, rng), rng, most),
    }
}

/// A list or object that has something in it, or the outermost node.
fn container<'a>(root: &'a mut Node, rng: &mut StdRng) -> &'a mut Node {
    let count = root.count();
    for _ in 0..8 {
        let place = rng.random_range(0..count);
        let is_full = match root.find(&mut place.clone()) {
            Some(Node::List(items)) => !items.is_empty(),
            Some(Node::Object(members)) => !members.is_empty(),
            _ => false,
        };
        if is_full {
            return root.find(&mut place.clone()).expect("it was found a moment ago");
        }
    }
    root
}

fn wrap(node: &mut Node, rng: &mut StdRng) {
    let inner = std::mem::replace(node, Node::List(Vec::new()));
    *node = match rng.random_range(0..3) {
        0 => Node::List(vec![inner]),
        1 => Node::Object(vec![(words::quoted(piece(rng, &words::KEYS)), inner)]),
        // The text of the value where the value was.
        _ => Node::Raw(words::quoted(&inner.write())),
    };
}

/// A list for an object, and an object for a list.
fn turn_over(node: &mut Node) {
    *node = match std::mem::replace(node, Node::List(Vec::new())) {
        Node::Object(members) => Node::List(members.into_iter().map(|(_, value)| value).collect()),
        Node::List(items) => {
            let named = |(n, item)| (format!("\"{n}\""), item);
            Node::Object(items.into_iter().enumerate().map(named).collect())
        }
        Node::Raw(raw) => Node::Raw(words::quoted(&raw)),
    };
}

fn change_members(node: &mut Node, rng: &mut StdRng, most: usize) {
    match node {
        Node::Raw(raw) => *raw = words::odd_value(rng, most),
        Node::List(items) if items.is_empty() => items.push(Node::Raw(words::odd_value(rng, most))),
        Node::List(items) => {
            let at = rng.random_range(0..items.len());
            match rng.random_range(0..4) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, Node::Raw(words::odd_value(rng, most))),
                2 => items.reverse(),
                _ => {
                    // Many times the same: what is paged, counted or compared with each other.
                    let weight = items[at].write().len() + 1;
                    let times = size(rng, most) / weight + 1;
                    let again = vec![items[at].clone(); times];
                    items.extend(again);
                }
            }
        }
        Node::Object(members) => {
            let key = words::quoted(piece(rng, &words::KEYS));
            let at = if members.is_empty() { None } else { Some(rng.random_range(0..members.len())) };
            match (at, rng.random_range(0..6)) {
                (Some(at), 0) => drop(members.remove(at)),
                (Some(at), 1) => members[at].0 = key,
                (Some(at), 2) => {
                    let again = (members[at].0.clone(), Node::Raw(words::odd_value(rng, most)));
                    members.push(again);
                }
                (Some(at), 3) => {
                    let other = rng.random_range(0..members.len());
                    let moved = members[other].1.clone();
                    members[at].1 = moved;
                }
                (Some(at), 4) => members[at].0 = words::quoted(words::text(rng)),
                _ => members.push((key, Node::Raw(words::odd_value(rng, most)))),
            }
        }
    }
}
