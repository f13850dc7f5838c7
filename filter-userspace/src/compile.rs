//! Policy + ranges → tables, deterministic. (Placeholder signatures: the real module comes with the kernel side.)
use crate::{geo::Database, policy::Policy};
use filter_common::country::{Class, CountryCode};

/// Everything that a publication writes.
pub struct CompiledPolicy {
    /// `countries[i]` has class `Class::FIRST_COUNTRY + i`; every country of the database or the policy, sorted.
    pub countries: Vec<CountryCode>,
}

impl CompiledPolicy {
    /// `Class` of a country, when database or policy know it.
    pub fn class_of(&self, country: CountryCode) -> Option<Class> {
        let _ = country;
        todo!()
    }
    /// Country of a class, when the class stands for one.
    pub fn country_of(&self, class: Class) -> Option<CountryCode> {
        let _ = class;
        todo!()
    }
    /// `unknown`, `trusted`, `rule_allow`, `rule_deny`, `private`, or the country's two letters.
    pub fn class_name(&self, class: Class) -> String {
        let _ = class;
        todo!()
    }
    /// Bytes of all tables of this generation.
    pub fn table_bytes(&self) -> usize {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("…")]
    Todo,
}

pub fn compile(policy: &Policy, database: &Database) -> Result<CompiledPolicy, CompileError> {
    let _ = (policy, database);
    todo!()
}
