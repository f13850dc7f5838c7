//! Policy + ranges → what a publication writes into the maps. Deterministic, and knows no kernel.

mod cover;
mod exceptions;
mod grid;
#[cfg(test)]
mod tests;
mod trie;
pub mod walk;

use std::time::{SystemTime, UNIX_EPOCH};

use filter_common::{
    abi::{
        self, MAX_DESTINATIONS, MAX_EXCEPTIONS, MAX_LIMITS, PolicyBlock, PortSet, action,
        exception, scope_flag,
    },
    country::{Class, CountryCode},
    exception::find,
    limit::{MAX_TOLERANCE_TICKS, TICK_NS, sets_for},
    packet::{Address, Packet},
    table::{self, Line},
};
use ipnetwork::IpNetwork;

use crate::{
    countries,
    geo::{self, Database},
    policy::{Action, Limit, Policy, Scope},
};
pub use cover::{Cover, Painted};
pub use exceptions::{is_made_of, trusted_around};
pub use trie::TableTooLarge;

/// Private, shared and link-local address space, which no country database knows
/// (RFC 1918, RFC 3927, RFC 6598; RFC 4193, RFC 4291 §2.5.6).
const PRIVATE_PREFIXES: [&str; 7] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Why a policy cannot be compiled. The config's own checks come first, so these are rare.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(
        "the database names {found} countries; one table can tell {} apart",
        Class::MAX_COUNTRIES
    )]
    TooManyCountries { found: usize },
    #[error("the policy has {found} limits; {} are possible", MAX_LIMITS)]
    TooManyLimits { found: usize },
    #[error(
        "[protect] names {found} destinations of one family; {} are possible",
        MAX_DESTINATIONS
    )]
    TooManyDestinations { found: usize },
    #[error(
        "the runtime rules that end or name a port need {found} entries with the rules inside their \
         prefixes; {} are possible",
        MAX_EXCEPTIONS
    )]
    TooManyExceptions { found: usize },
    #[error(transparent)]
    TableTooLarge(#[from] TableTooLarge),
}

/// Everything that a publication writes.
pub struct CompiledPolicy {
    /// The address table of both families; empty once [`Self::release_lines`] was called.
    pub lines: Vec<Line>,
    line_count: usize,
    pub policy: Box<PolicyBlock>,
    /// TCP and UDP, see [`abi::TCP_PORT_SET`].
    pub ports: Box<[PortSet; abi::PORT_SETS]>,
    /// `countries[i]` has class `Class::FIRST_COUNTRY + i`. All countries that there are, sorted, so that
    /// a class, and with it a counter, means the same country whatever the database.
    pub countries: Vec<CountryCode>,
}

impl CompiledPolicy {
    /// The class of a country.
    pub fn class_of(&self, country: CountryCode) -> Option<Class> {
        let index = self.countries.binary_search(&country).ok()?;
        Some(Class(Class::FIRST_COUNTRY + index as u8))
    }

    /// The country of a class, when the class stands for one.
    pub fn country_of(&self, class: Class) -> Option<CountryCode> {
        let index = class.0.checked_sub(Class::FIRST_COUNTRY)?;
        self.countries.get(usize::from(index)).copied()
    }

    /// `unknown`, `trusted`, `rule_allow`, `rule_deny`, `private`, or the country's two letters.
    pub fn class_name(&self, class: Class) -> String {
        class_name(class, |class| self.country_of(class))
    }

    /// The class that the table gives an address, by the look-up that the kernel runs. `None` would be
    /// a fault of the compiler.
    pub fn lookup(&self, address: &Address) -> Option<Class> {
        table::lookup(&self.lines.as_slice(), address)
    }

    /// The class that a packet counts for and the action that it gets, by the exceptions that are not over at
    /// `now_ns` (CLOCK_BOOTTIME), or else by its class. `None` as in [`Self::lookup`].
    pub fn class_and_action(&self, packet: &Packet, now_ns: u64) -> Option<(Class, u8)> {
        let class = self.lookup(&packet.source())?;
        let own = self.policy.actions[usize::from(class.0)] & !action::HAS_EXCEPTIONS;
        Some(match find(&self.policy, packet, class, now_ns) {
            exception::NOTHING => (class, own),
            found => exception::class_and_action(found),
        })
    }

    /// Bytes of the address table of this generation.
    pub fn table_bytes(&self) -> usize {
        self.line_count * size_of::<Line>()
    }

    /// Gives the memory of the table back, once the kernel has its own. What is left still knows which
    /// class is which country.
    pub fn release_lines(&mut self) {
        self.lines = Vec::new();
    }
}

/// The name of a class, given the countries that a generation numbered.
pub fn class_name(class: Class, country: impl Fn(Class) -> Option<CountryCode>) -> String {
    match class {
        Class::UNKNOWN => "unknown".to_owned(),
        Class::TRUSTED => "trusted".to_owned(),
        Class::RULE_ALLOW => "rule_allow".to_owned(),
        Class::RULE_DENY => "rule_deny".to_owned(),
        Class::PRIVATE => "private".to_owned(),
        class => {
            country(class).map_or_else(|| format!("class_{}", class.0), |code| code.to_string())
        }
    }
}

/// What a class gets from `action` on, in the place of `before`: exceptions go over the action whatever it is.
pub fn action_in_place_of(before: u8, action: Action) -> u8 {
    action_number(action) | before & action::HAS_EXCEPTIONS
}

/// The number that stands for `action` in the action table.
pub fn action_number(action: Action) -> u8 {
    match action {
        Action::Deny => action::DENY,
        Action::Allow => action::ALLOW,
        Action::Limit(index) => action::FIRST_LIMIT + index as u8,
    }
}

/// Lines that the table will fit in, most likely, with room for the next database: a guess for who
/// cannot wait for [`compile`], and no bound.
pub fn probable_lines(policy: &Policy, database: &Database) -> usize {
    const BASE: usize = table::FIRST_NODE as usize + 16 * 1024;
    // Measured: a line for 8 to 10 places where the country changes in the real world, for 6 to 8 in a
    // million or a hundred thousand networks picked from it evenly, and for fewer only below that,
    // where the fixed part is large enough.
    const V6_CHANGES_PER_LINE: usize = 7;
    let blocks = mixed(&database.v4, 16);
    // Few of the places between records stay free.
    let record_lines = mixed(&database.v4, 8).div_ceil(table::RECORDS_PER_LINE - 2);
    BASE + blocks * table::NARROW_LINES as usize
        + record_lines
        + changes(&database.v6) / V6_CHANGES_PER_LINE
        + prefix_lines(policy)
}

/// What [`probable_lines`] says of the embedded database, for who cannot even wait until that is read.
pub fn builtin_lines(policy: &Policy) -> usize {
    // To be set anew with a new database; tests/tables.rs tells.
    const BUILTIN: usize = 127_000;
    BUILTIN + prefix_lines(policy)
}

fn prefix_lines(policy: &Policy) -> usize {
    // A prefix cuts at most two /16s, or two nodes of the trie, one of which may grow to a tree.
    const LINES_PER_PREFIX: usize = 8;
    (policy.trusted.len() + policy.allow.len() + policy.deny.len()) * LINES_PER_PREFIX
}

/// Prefixes with `host_bits` bits behind them inside of which a range starts or ends.
fn mixed(ranges: &[geo::Range4], host_bits: u32) -> usize {
    let is_inside = |address: &u32| address & ((1 << host_bits) - 1) != 0;
    let bounds = ranges
        .iter()
        .flat_map(|range| [range.first, range.last.wrapping_add(1)]);
    let mut prefixes = bounds.filter(is_inside).map(|address| address >> host_bits);
    let Some(mut last) = prefixes.next() else {
        return 0;
    };
    let mut count = 1;
    // Bounds ascend, so equal prefixes stand side by side.
    for prefix in prefixes {
        count += usize::from(prefix != last);
        last = prefix;
    }
    count
}

/// Addresses at which a range starts, or a gap.
fn changes<A: geo::Address>(ranges: &[geo::Range<A>]) -> usize {
    let adjacent = ranges
        .windows(2)
        .filter(|pair| pair[0].last.successor() == Some(pair[1].first));
    2 * ranges.len() - adjacent.count()
}

/// Compiles a policy against a database.
pub fn compile(policy: &Policy, database: &Database) -> Result<CompiledPolicy, CompileError> {
    let mut countries: Vec<CountryCode> = countries::all()
        .into_iter()
        .map(|country| country.code)
        .collect();
    countries.sort_unstable();
    // ISO 3166-1 would have to grow for this; then the fixed classes have to give way.
    assert!(
        countries.len() <= Class::MAX_COUNTRIES,
        "invariant: every country fits a class"
    );
    let mut compiled = CompiledPolicy {
        lines: Vec::new(),
        line_count: 0,
        policy: Box::new(PolicyBlock {
            actions: [action::DENY; Class::COUNT],
            limits: limits(&policy.limits)?,
            scope: scope(&policy.scope)?,
            packet_set_mask: 0,
            connection_set_mask: 0,
            published_unix_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            country_letters: [[0; 2]; Class::COUNT],
            exception_count: 0,
            _pad: 0,
            exceptions: [abi::Exception::NONE; MAX_EXCEPTIONS],
        }),
        ports: Box::new([port_set(&policy.scope.tcp), port_set(&policy.scope.udp)]),
        countries,
    };
    fill_actions(policy, &mut compiled);
    let exceptions = exceptions::list(policy, |country| compiled.class_of(country))?;
    add_exceptions(&exceptions, &mut compiled.policy);
    let block = &mut compiled.policy;
    block.packet_set_mask = set_mask(block.limits.iter().map(|limit| limit.packet_interval));
    block.connection_set_mask =
        set_mask(block.limits.iter().map(|limit| limit.connection_interval));
    let (v4, v6) = covers(policy, database, &compiled);
    compiled.lines = trie::build(&v4, &v6)?;
    compiled.line_count = compiled.lines.len();
    Ok(compiled)
}

fn fill_actions(policy: &Policy, compiled: &mut CompiledPolicy) {
    let block = &mut compiled.policy;
    block.actions[usize::from(Class::UNKNOWN.0)] = action_number(policy.unknown);
    block.actions[usize::from(Class::PRIVATE.0)] = action_number(policy.private);
    // The two below are decided by class before the action is read; the table says the same.
    block.actions[usize::from(Class::TRUSTED.0)] = action::ALLOW;
    block.actions[usize::from(Class::RULE_ALLOW.0)] = action::ALLOW;
    for (index, country) in compiled.countries.iter().enumerate() {
        let action = policy
            .countries
            .get(country)
            .copied()
            .unwrap_or(policy.default);
        let class = usize::from(Class::FIRST_COUNTRY) + index;
        block.actions[class] = action_number(action);
        block.country_letters[class] = country.letters();
    }
}

fn add_exceptions(exceptions: &[abi::Exception], block: &mut PolicyBlock) {
    block.exception_count = exceptions.len() as u32;
    block.exceptions[..exceptions.len()].copy_from_slice(exceptions);
    for exception in exceptions {
        match block.actions.get_mut(usize::from(exception.subject)) {
            Some(action) => *action |= action::HAS_EXCEPTIONS,
            None => block.scope.flags |= scope_flag::PREFIX_EXCEPTIONS,
        }
    }
}

/// The two address spaces with everything that has a say in them, from the least to the most: the
/// database, private space, the rules (longer prefix first, deny before allow), the trusted prefixes.
pub fn covers(policy: &Policy, database: &Database, compiled: &CompiledPolicy) -> (Cover, Cover) {
    let classes = ClassTable::of(compiled);
    let class = |country| classes.class_of(country);
    let v4 = Cover::from_ranges(database.v4.iter().map(|range| Painted {
        first: u128::from(range.first) << 96,
        last: u128::from(range.last) << 96 | (u128::MAX >> 32),
        class: class(range.country),
    }));
    let v6 = Cover::from_ranges(database.v6.iter().map(|range| Painted {
        first: range.first,
        last: range.last,
        class: class(range.country),
    }));
    let with = |class: Class| move |prefix: &IpNetwork| (*prefix, class);
    let private: Vec<_> = PRIVATE_PREFIXES
        .iter()
        .map(|prefix| {
            let prefix = prefix
                .parse()
                .expect("invariant: the list above holds prefixes");
            (prefix, Class::PRIVATE)
        })
        .collect();
    let rules: Vec<_> = policy
        .allow
        .iter()
        .map(with(Class::RULE_ALLOW))
        .chain(policy.deny.iter().map(with(Class::RULE_DENY)))
        .collect();
    let trusted: Vec<_> = policy.trusted.iter().map(with(Class::TRUSTED)).collect();
    let layers = [private, rules, trusted];
    (
        lay(v4, &layers, IpNetwork::is_ipv4),
        lay(v6, &layers, IpNetwork::is_ipv6),
    )
}

/// The class of every pair of letters: a database has a million ranges, and searching the list of
/// countries for each of them would take a third of the time to compile.
struct ClassTable([Class; LETTERS * LETTERS]);

const LETTERS: usize = 26;

impl ClassTable {
    fn of(compiled: &CompiledPolicy) -> Self {
        let mut table = Self([Class::UNKNOWN; LETTERS * LETTERS]);
        for country in &compiled.countries {
            if let Some(class) = compiled.class_of(*country) {
                table.0[Self::place(*country)] = class;
            }
        }
        table
    }

    fn class_of(&self, country: CountryCode) -> Class {
        self.0[Self::place(country)]
    }

    /// Codes are two capital letters.
    fn place(country: CountryCode) -> usize {
        let [a, b] = country
            .letters()
            .map(|letter| usize::from(letter.wrapping_sub(b'A')));
        a * LETTERS + b
    }
}

fn lay(
    base: Cover,
    layers: &[Vec<(IpNetwork, Class)>],
    is_of_family: fn(&IpNetwork) -> bool,
) -> Cover {
    layers.iter().fold(base, |cover, layer| {
        let prefixes: Vec<_> = layer
            .iter()
            .filter(|(prefix, _)| is_of_family(prefix))
            .copied()
            .collect();
        if prefixes.is_empty() {
            return cover;
        }
        cover.painted(cover::flatten(&prefixes).into_iter())
    })
}

/// Sets of each limiter array: with 4 sources a set, a million sources at 8 MiB an array.
pub const LIMITER_SETS: u32 = 1 << 18;

/// Packets a second up to which the limiter remembers every source that is not at rest: more than
/// ten CPU cores take.
pub const REMEMBERED_PACKETS_PER_SECOND: u64 = 10_000_000;

/// The sets that limits of these intervals use, less one.
fn set_mask(intervals: impl Iterator<Item = u64>) -> u32 {
    let longest = intervals.max().unwrap_or(0);
    sets_for(longest, REMEMBERED_PACKETS_PER_SECOND, LIMITER_SETS) - 1
}

fn limits(limits: &[Limit]) -> Result<[abi::Limit; MAX_LIMITS], CompileError> {
    if limits.len() > MAX_LIMITS {
        return Err(CompileError::TooManyLimits {
            found: limits.len(),
        });
    }
    let mut compiled = [abi::Limit::NONE; MAX_LIMITS];
    for (compiled, limit) in compiled.iter_mut().zip(limits) {
        let (packet_interval, packet_tolerance) =
            ticks(limit.packets_per_second, limit.burst_packets);
        let (connection_interval, connection_tolerance) =
            ticks(limit.new_connections_per_second, limit.burst_connections);
        *compiled = abi::Limit {
            packet_interval,
            packet_tolerance,
            connection_interval,
            connection_tolerance,
            ipv4_prefix_len: u32::from(limit.ipv4_prefix_len),
            ipv6_prefix_len: u32::from(limit.ipv6_prefix_len),
        };
    }
    Ok(compiled)
}

/// Interval and tolerance in ticks; an interval of 0 limits nothing.
fn ticks(per_second: Option<u32>, burst: u32) -> (u64, u64) {
    let Some(per_second) = per_second.filter(|rate| *rate > 0) else {
        return (0, 0);
    };
    let ticks_per_second = 1_000_000_000 / TICK_NS;
    let rate = u64::from(per_second);
    let interval = ((ticks_per_second + rate / 2) / rate).max(1);
    let tolerance = u64::from(burst.saturating_sub(1)) * interval;
    (interval, tolerance.min(MAX_TOLERANCE_TICKS))
}

fn port_set(ranges: &[(u16, u16)]) -> PortSet {
    let mut set = PortSet([0; 1024]);
    for (first, last) in ranges {
        for port in *first..=*last {
            set.0[usize::from(port) / 64] |= 1 << (port % 64);
        }
    }
    set
}

fn scope(scope: &Scope) -> Result<abi::Scope, CompileError> {
    let mut compiled = abi::Scope::EVERYTHING;
    if !scope.tcp.is_empty() {
        compiled.flags |= scope_flag::SERVICES | scope_flag::TCP_PORTS;
    }
    if !scope.udp.is_empty() {
        compiled.flags |= scope_flag::SERVICES | scope_flag::UDP_PORTS;
    }
    for protocol in &scope.protocols {
        compiled.flags |= scope_flag::SERVICES;
        compiled.protocols[usize::from(*protocol) / 64] |= 1 << (*protocol % 64);
    }
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for destination in &scope.destinations {
        compiled.flags |= scope_flag::DESTINATIONS;
        match destination {
            IpNetwork::V4(prefix) => v4.push(abi::PrefixV4 {
                network: prefix.network().into(),
                mask: prefix.mask().into(),
            }),
            IpNetwork::V6(prefix) => {
                let words = |bits: u128| [(bits >> 64) as u64, bits as u64];
                v6.push(abi::PrefixV6 {
                    network: words(prefix.network().into()),
                    mask: words(prefix.mask().into()),
                });
            }
        }
    }
    let found = v4.len().max(v6.len());
    if found > MAX_DESTINATIONS {
        return Err(CompileError::TooManyDestinations { found });
    }
    compiled.destination_count_v4 = v4.len() as u32;
    compiled.destination_count_v6 = v6.len() as u32;
    compiled.destinations_v4[..v4.len()].copy_from_slice(&v4);
    compiled.destinations_v6[..v6.len()].copy_from_slice(&v6);
    Ok(compiled)
}
