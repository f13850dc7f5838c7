//! Writes small MaxMind DB files for tests, in every shape that vendors use.

use std::collections::HashMap;

/// A value of the data section.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Map(Vec<(&'static str, Value)>),
    U16(u16),
    U32(u32),
    U64(u64),
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The flat shape: `{"country_code": …}`.
pub(crate) fn flat(code: &str) -> Value {
    Value::Map(vec![("country_code", text(code))])
}

/// MaxMind's shape: `{KEY: {"iso_code": …}}`.
pub(crate) fn nested(key: &'static str, code: &str) -> Value {
    Value::Map(vec![(key, Value::Map(vec![("iso_code", text(code))]))])
}

#[derive(Clone, Copy, PartialEq)]
enum Child {
    Empty,
    Node(usize),
    Data(usize),
}

pub(crate) struct Writer {
    ip_version: u16,
    record_size: u16,
    described: bool,
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
    offsets: HashMap<Vec<u8>, usize>,
}

impl Writer {
    pub(crate) fn new(ip_version: u16, record_size: u16) -> Self {
        Self {
            ip_version,
            record_size,
            described: true,
            nodes: vec![[Child::Empty; 2]],
            data: Vec::new(),
            offsets: HashMap::new(),
        }
    }

    /// Leaves `description` empty, as npm's `@ip-location-db` does.
    pub(crate) fn undescribed(mut self) -> Self {
        self.described = false;
        self
    }

    /// Adds a network; `address` is left-aligned in 128 bits.
    pub(crate) fn insert(&mut self, address: u128, prefix_len: u32, value: &Value) {
        let mut encoded = Vec::new();
        encode(&mut encoded, value);
        let offset = *self.offsets.entry(encoded.clone()).or_insert_with(|| {
            let offset = self.data.len();
            self.data.extend(encoded);
            offset
        });
        self.set(address, prefix_len, Child::Data(offset));
    }

    /// Adds an IPv4 network, below `::/96` in an IPv6 tree.
    pub(crate) fn insert_v4(&mut self, address: [u8; 4], prefix_len: u32, value: &Value) {
        let address = u128::from(u32::from_be_bytes(address));
        match self.ip_version {
            4 => self.insert(address << 96, prefix_len, value),
            _ => self.insert(address, 96 + prefix_len, value),
        }
    }

    /// Lets a prefix point at the node of `::/96`, as MaxMind does for 6to4 and the like.
    pub(crate) fn alias_v4(&mut self, address: u128, prefix_len: u32) {
        let mut node = 0;
        for _ in 0..96 {
            match self.nodes[node][0] {
                Child::Node(next) => node = next,
                _ => panic!("no IPv4 subtree to point at"),
            }
        }
        self.set(address, prefix_len, Child::Node(node));
    }

    /// A tree of `depth` nodes in which both branches of each lead to the next: few nodes, and
    /// 2^`depth` ways to the one record.
    pub(crate) fn braided(mut self, depth: usize, value: &Value) -> Self {
        self.insert(0, 1, value);
        let record = self.nodes[0][0];
        self.nodes = (1..depth)
            .map(|next| [Child::Node(next); 2])
            .chain([[record; 2]])
            .collect();
        self
    }

    fn set(&mut self, address: u128, prefix_len: u32, child: Child) {
        let bit = |depth: u32| (address >> (127 - depth)) as usize & 1;
        let mut node = 0;
        for depth in 0..prefix_len - 1 {
            node = match self.nodes[node][bit(depth)] {
                Child::Node(next) => next,
                _ => {
                    self.nodes.push([Child::Empty; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][bit(depth)] = Child::Node(next);
                    next
                }
            };
        }
        self.nodes[node][bit(prefix_len - 1)] = child;
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for [left, right] in &self.nodes {
            let [left, right] = [self.record(*left), self.record(*right)];
            let [l, r] = [left.to_be_bytes(), right.to_be_bytes()];
            match self.record_size {
                24 => file.extend([&l[1..], &r[1..]].concat()),
                28 => {
                    file.extend(&l[1..]);
                    file.push(l[0] << 4 | r[0]);
                    file.extend(&r[1..]);
                }
                _ => file.extend([l, r].concat()),
            }
        }
        file.extend([0; 16]);
        file.extend(&self.data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        let description = match self.described {
            true => vec![("en", text("test"))],
            false => vec![],
        };
        let metadata = Value::Map(vec![
            ("binary_format_major_version", Value::U16(2)),
            ("binary_format_minor_version", Value::U16(0)),
            ("build_epoch", Value::U64(1_780_000_000)),
            ("database_type", text("Test-Country")),
            ("description", Value::Map(description)),
            ("ip_version", Value::U16(self.ip_version)),
            ("node_count", Value::U32(self.nodes.len() as u32)),
            ("record_size", Value::U16(self.record_size)),
        ]);
        let mut encoded = Vec::new();
        encode(&mut encoded, &metadata);
        // `languages` is an array, which no record needs: one entry more, written by hand.
        encoded[0] += 1;
        encode(&mut encoded, &text("languages"));
        encoded.extend([0, 11 - 7]);
        file.extend(encoded);
        file
    }

    fn record(&self, child: Child) -> u32 {
        let value = match child {
            Child::Node(node) => node,
            Child::Empty => self.nodes.len(),
            Child::Data(offset) => self.nodes.len() + 16 + offset,
        };
        value as u32
    }
}

/// Control bytes: <https://maxmind.github.io/MaxMind-DB/#output-data-section>
fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => {
            match text.len() {
                short @ ..29 => out.push(2 << 5 | short as u8),
                long @ ..=284 => out.extend([2 << 5 | 29, (long - 29) as u8]),
                _ => panic!("longer strings need a size of their own"),
            }
            out.extend(text.as_bytes());
        }
        Value::Map(entries) => {
            out.push(7 << 5 | entries.len() as u8);
            for (key, value) in entries {
                encode(out, &text(key));
                encode(out, value);
            }
        }
        Value::U16(value) => {
            out.push(5 << 5 | 2);
            out.extend(value.to_be_bytes());
        }
        Value::U32(value) => {
            out.push(6 << 5 | 4);
            out.extend(value.to_be_bytes());
        }
        Value::U64(value) => {
            out.extend([8, 9 - 7]);
            out.extend(value.to_be_bytes());
        }
    }
}
