//! Who takes part in the demo.

use filter_common::country::CountryCode;

/// The country of the client, whose requests must all be served.
pub const HOME: CountryCode = code("MO");
/// A country that is allowed, with a limit for each source.
pub const NEIGHBOUR: CountryCode = code("CN");

/// Where the attack comes from: Europe and North America, with names for the report.
pub const ATTACKERS: &[(CountryCode, &str)] = &[
    (code("US"), "United States"),
    (code("CA"), "Canada"),
    (code("MX"), "Mexico"),
    (code("GB"), "United Kingdom"),
    (code("DE"), "Germany"),
    (code("FR"), "France"),
    (code("NL"), "Netherlands"),
    (code("ES"), "Spain"),
    (code("IT"), "Italy"),
    (code("PL"), "Poland"),
    (code("SE"), "Sweden"),
    (code("NO"), "Norway"),
    (code("FI"), "Finland"),
    (code("DK"), "Denmark"),
    (code("RU"), "Russia"),
    (code("UA"), "Ukraine"),
    (code("RO"), "Romania"),
    (code("CZ"), "Czechia"),
    (code("AT"), "Austria"),
    (code("CH"), "Switzerland"),
    (code("BE"), "Belgium"),
    (code("PT"), "Portugal"),
    (code("GR"), "Greece"),
    (code("IE"), "Ireland"),
];

const fn code(letters: &str) -> CountryCode {
    match *letters.as_bytes() {
        [a, b] => match CountryCode::new([a, b]) {
            Some(code) => code,
            None => panic!("a country code has two letters"),
        },
        _ => panic!("a country code has two letters"),
    }
}
