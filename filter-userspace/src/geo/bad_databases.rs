//! Text databases: what is read from good ones, and the whole error of every kind of bad one.

use super::mmdb_tests::ranges;
use super::mmdb_writer::{Writer, flat, nested, text};
use super::*;

fn read(bytes: &[u8], country: Option<&str>) -> Result<Database, GeoError> {
    let country = country.map(|code| CountryCode::parse(code).unwrap());
    let options = ReadOptions { country };
    read_bytes(bytes.to_vec(), Source::File("db".into()), &options)
}

#[test]
fn good_text_databases_give_their_ranges() {
    const TWO: &[&str] = &["1.0.0.0-1.0.0.255 AU", "1.0.1.0-1.0.3.255 CN"];
    type Case = (
        &'static str,
        &'static str,
        Option<&'static str>,
        Format,
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            "dotted",
            "1.0.0.0,1.0.0.255,AU\n1.0.1.0,1.0.3.255,CN\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "numeric",
            "16777216,16777471,AU\n16777472,16778239,CN",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "quoted, CRLF, BOM, extra columns",
            "\u{feff}\"16777216\",\"16777471\",\"AU\",\"Australia\"\r\n\
             \"16777472\",\"16778239\",\"CN\",\"China\"\r\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "comments, blank lines, blanks, lower case, unsorted",
            "# a comment\n\n1.0.1.0, 1.0.3.255, cn\n#\n 1.0.0.0,1.0.0.255,au\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "header with the columns elsewhere",
            "Country Code,End-IP,start_ip\nAU,1.0.0.255,1.0.0.0\nCN,1.0.3.255,1.0.1.0\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "IPinfo",
            "start_ip,end_ip,country,country_name\n1.0.0.0,1.0.0.255,AU,Australia\n\
             1.0.1.0,1.0.3.255,CN,China\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "IPinfo Lite",
            "network,country,country_code,asn\n1.0.0.0/24,Australia,AU,1\n\
             1.0.1.0/24,China,CN,2\n1.0.2.0/23,China,CN,2\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "networks, the narrower wins",
            "1.0.0.0/22,CN\n1.0.0.0/24,AU\n1.0.1.7,CN\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "no countries, duplicates, overlap of one country",
            "1.0.0.0,1.0.0.255,AU\n1.0.0.0,1.0.0.255,AU\n1.0.1.0,1.0.2.0,CN\n\
             1.0.1.9,1.0.3.255,CN\n2.0.0.0,2.0.0.1,??\n2.0.0.2,2.0.0.3,\n2.0.0.4,2.0.0.5,EU\n\
             2.0.0.6,2.0.0.7,A1\n2.0.0.8,2.0.0.9,-\n",
            None,
            Format::Csv,
            TWO,
        ),
        (
            "colon IPv6, and IPv4 in it",
            "2001:db8::,2001:db8::ff,MO\n::ffff:1.0.0.0,::ffff:1.0.0.255,AU\n",
            None,
            Format::Csv,
            &["1.0.0.0-1.0.0.255 AU", "2001:db8::-2001:db8::ff MO"],
        ),
        (
            "numeric IPv6 with a low line",
            "0,15,FR\n281470698520576,281470698520831,AU\n\
             42540766411282592856903984951653826560,42540766411282592856903984951653826815,MO\n",
            None,
            Format::Csv,
            &[
                "1.0.0.0-1.0.0.255 AU",
                "::-::f FR",
                "2001:db8::-2001:db8::ff MO",
            ],
        ),
        (
            "numeric IPv6 that only a line without a country gives away",
            "0,15,FR\n4294967296,4294967297,-\n",
            None,
            Format::Csv,
            &["::-::f FR"],
        ),
        (
            "RIR, two registries",
            "2|apnic|20260601|5|19850701|20260531|+1000\n\
             apnic|*|asn|*|1|summary\napnic|*|ipv4|*|3|summary\napnic|*|ipv6|*|1|summary\n\
             apnic|JP|asn|173|1|20020801|allocated\n\
             apnic|AU|ipv4|1.0.0.0|256|20110811|assigned\n\
             apnic|CN|ipv4|1.0.1.0|768|20110414|allocated\n\
             apnic||ipv4|1.0.8.0|256||available\n\
             apnic|MO|ipv6|2001:db8::|32|20110414|allocated\n\
             # joined\n\
             2.3|ripencc|1780000000|2|19830705|20260601|+0100\n\
             ripencc|*|ipv4|*|2|summary\n\
             ripencc|EU|ipv4|2.0.0.0|256|20100712|allocated|0123\n\
             ripencc|ZZ|ipv4|2.0.1.0|256||reserved|\n",
            None,
            Format::Rir,
            &[
                "1.0.0.0-1.0.0.255 AU",
                "1.0.1.0-1.0.3.255 CN",
                "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff MO",
            ],
        ),
        (
            "list of prefixes",
            "# Macau\r\n\r\n192.0.2.0/25 # first half\r\n192.0.2.128/25;\r\n198.51.100.7\r\n\
             192.0.2.9/32\r\n2001:db8::/64\r\n",
            Some("MO"),
            Format::Cidr,
            &[
                "192.0.2.0-192.0.2.255 MO",
                "198.51.100.7-198.51.100.7 MO",
                "2001:db8::-2001:db8::ffff:ffff:ffff:ffff MO",
            ],
        ),
        (
            "everything",
            "0.0.0.0/0\n::/0",
            Some("MO"),
            Format::Cidr,
            &[
                "0.0.0.0-255.255.255.255 MO",
                "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff MO",
            ],
        ),
    ];
    for (name, input, country, format, expected) in cases {
        let database = read(input.as_bytes(), *country).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(ranges(&database), *expected, "{name}");
        assert_eq!(database.info.format, *format, "{name}");
    }
}

#[test]
fn build_times_come_from_the_file() {
    let seconds = |text: &str| {
        let built = read(text.as_bytes(), None).unwrap().info.build_time?;
        Some(
            built
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        )
    };
    let tor = "# x\n#\n# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n1,2,MO\n";
    assert_eq!(seconds(tor), Some(1_782_362_039));
    assert_eq!(seconds("1,2,MO\n"), None);
    let joined = "2|apnic|1|1|1|20260601|+10\n2|arin|1|1|1|20260531|+10\n\
                  arin|MO|ipv4|1.0.0.0|1|1|assigned\n";
    assert_eq!(seconds(joined), Some(1_780_185_600));
}

/// One bad file, and the whole of its error behind `failed to read geoip database `.
struct Bad {
    name: &'static str,
    input: Vec<u8>,
    country: Option<&'static str>,
    error: &'static str,
}

fn bad(name: &'static str, input: impl Into<Vec<u8>>, error: &'static str) -> Bad {
    Bad {
        name,
        input: input.into(),
        country: None,
        error,
    }
}

fn bad_list(name: &'static str, input: &str, error: &'static str) -> Bad {
    Bad {
        country: Some("MO"),
        ..bad(name, input, error)
    }
}

fn mmdb(record_of_one_network: &super::mmdb_writer::Value) -> Vec<u8> {
    let mut writer = Writer::new(4, 24);
    writer.insert_v4([1, 0, 0, 0], 8, record_of_one_network);
    writer.finish()
}

/// A MaxMind DB with eight nodes of six bytes, of which one byte is changed.
fn mmdb_with(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = mmdb(&flat("MO"));
    bytes[at] = value;
    bytes
}

fn any_format() -> Vec<Bad> {
    vec![
        bad(
            "empty",
            "",
            "db: the file is empty; was the download cut off?",
        ),
        bad(
            "blank",
            " \r\n\n",
            "db: the file is empty; was the download cut off?",
        ),
        bad(
            "only comments",
            "# nothing\n",
            "db: no network with a country in it (only comments); is it a country database?",
        ),
        bad(
            "web page",
            "<!DOCTYPE html>\n<html>1,2,MO",
            "db: this looks like a web page; was the download refused?",
        ),
        bad(
            "web page with a BOM",
            "\u{feff}\n <html>",
            "db: this looks like a web page; was the download refused?",
        ),
        bad(
            "gzip",
            b"\x1f\x8b\x08\x00",
            "db: compressed with gzip: unpack it first",
        ),
        bad(
            "zip",
            b"PK\x03\x04",
            "db: compressed with zip: unpack it first",
        ),
        bad(
            "binary",
            b"\x7fELF\x00\x00",
            "db: binary, but without the metadata at the end of a MaxMind DB; the file is cut off or of an unknown format (formats that are read: MaxMind DB, CSV of ranges or networks, RIR delegated statistics, list of prefixes)",
        ),
        bad(
            "prose",
            "# hi\nhello world",
            "db:2: unknown format: \"hello world\" (formats that are read: MaxMind DB, CSV of ranges or networks, RIR delegated statistics, list of prefixes)",
        ),
        bad(
            "list without a country",
            "192.0.2.0/24\n",
            "db: a list of prefixes does not say whose they are; set `country` beside `database`",
        ),
        Bad {
            country: Some("MO"),
            ..bad(
                "CSV with a country",
                "1,2,MO",
                "db: `country = \"MO\"` is for lists of prefixes, but this is CSV; remove it",
            )
        },
    ]
}

fn csv() -> Vec<Bad> {
    vec![
        bad(
            "code",
            "1,2,MO\r\n3,4,MAC\r\n",
            "db:2: \"MAC\" is not a country code; two letters are expected (for addresses without a country: EU, AP, ZZ, ??, A1, A2, - or nothing)",
        ),
        bad(
            "code, after comments",
            "# a\n1,2,MO\n# b\n\n3,4,M\n",
            "db:5: \"M\" is not a country code; two letters are expected (for addresses without a country: EU, AP, ZZ, ??, A1, A2, - or nothing)",
        ),
        bad(
            "address",
            "1.0.0.0,1.0.0.256,MO",
            "db:1: \"1.0.0.256\" is not an address; expected 192.0.2.0, 2001:db8:: or a decimal number",
        ),
        bad(
            "reversed",
            "1.0.0.9,1.0.0.0,MO",
            "db:1: the range 1.0.0.9 to 1.0.0.0 ends before it starts",
        ),
        bad(
            "mixed",
            "1.0.0.0,2001:db8::,MO",
            "db:1: \"1.0.0.0\" and \"2001:db8::\" are not of one kind (IPv4, IPv6 or numeric)",
        ),
        bad(
            "cut off",
            "1,2,MO\n3,4",
            "db:2: 2 columns, expected at least 3; is the file cut off?",
        ),
        bad(
            "number beyond IPv6",
            "1,340282366920938463463374607431768211456,MO",
            "db:1: \"340282366920938463463374607431768211456\" is not an address; expected 192.0.2.0, 2001:db8:: or a decimal number",
        ),
        bad(
            "prefix",
            "1.0.0.0/24,MO\n1.0.1.0/33,MO",
            "db:2: \"1.0.1.0/33\" is not a prefix; expected one like 192.0.2.0/24 or 2001:db8::/32",
        ),
        bad(
            "header without ranges",
            "a,b,country\n1,2,MO",
            "db:1: the columns are \"a,b,country\", which name no range or network; expected a header like first,last,country_code or network,country_code",
        ),
        bad(
            "header without country",
            "first,last,asn\n1,2,3",
            "db:1: the columns are \"first,last,asn\", which name no country code; expected a header like first,last,country_code or network,country_code",
        ),
        bad(
            "GeoLite CSV",
            "network,geoname_id,registered_country_geoname_id\n1.0.0.0/24,1,1",
            "db:1: this file names places by geoname_id, whose countries stand in a second file that is not read; use the .mmdb edition of the database",
        ),
        bad(
            "only unknown",
            "1,2,ZZ",
            "db: no network with a country in it; is it a country database?",
        ),
        bad(
            "overlap",
            "1.0.0.0,1.0.0.9,MO\n# x\n1.0.0.5,1.0.0.7,CN",
            "db:3: 1.0.0.5 to 1.0.0.7 is CN here, but line 1 says MO for 1.0.0.0 to 1.0.0.9; remove one of them",
        ),
        bad(
            "same network twice",
            "1.0.0.0/24,MO\n1.0.0.0/24,CN",
            "db:2: 1.0.0.0 to 1.0.0.255 is CN here, but line 1 says MO for 1.0.0.0 to 1.0.0.255; remove one of them",
        ),
    ]
}

fn rir() -> Vec<Bad> {
    vec![
        bad(
            "cut in a line",
            "apnic|MO|ipv4|1.0.0.0|256|2011",
            "db:1: a line of RIR statistics has 7 columns or more between `|`, this one has 6; is the file cut off?",
        ),
        bad(
            "cut between lines",
            "apnic|*|ipv4|*|2|summary\napnic|MO|ipv4|1.0.0.0|256|2011|assigned\n",
            "db: the summary promises 2 ipv4 records, but only 1 are there; the file is cut off, download it again",
        ),
        bad(
            "type",
            "apnic|MO|ipv5|1.0.0.0|256|2011|assigned",
            "db:1: \"ipv5\" is not a type (asn, ipv4 or ipv6) of RIR statistics",
        ),
        bad(
            "status",
            "apnic|MO|ipv4|1.0.0.0|256|2011|assig",
            "db:1: \"assig\" is not a status (allocated, assigned, available or reserved) of RIR statistics",
        ),
        bad(
            "start",
            "apnic|MO|ipv4|2001:db8::|256|2011|assigned",
            "db:1: \"2001:db8::\" is not a IPv4 start of RIR statistics",
        ),
        bad(
            "no addresses",
            "apnic|MO|ipv4|1.0.0.0|0|2011|assigned",
            "db:1: \"0\" is not a number of IPv4 addresses of RIR statistics",
        ),
        bad(
            "past the end",
            "apnic|MO|ipv4|255.255.255.0|257|2011|assigned",
            "db:1: \"257\" is not a number of IPv4 addresses of RIR statistics",
        ),
        bad(
            "length",
            "apnic|MO|ipv6|2001:db8::|16|2011|assigned",
            "db:1: \"16\" is not a prefix length of that start of RIR statistics",
        ),
        bad(
            "country",
            "apnic|M0|ipv6|2001:db8::|32|2011|assigned",
            "db:1: \"M0\" is not a country code; two letters are expected (for addresses without a country: EU, AP, ZZ, ??, A1, A2, - or nothing)",
        ),
        bad(
            "summary",
            "apnic|*|ipv4|*|many|summary",
            "db:1: \"many\" is not a summary count of RIR statistics",
        ),
    ]
}

fn cidr() -> Vec<Bad> {
    vec![
        bad_list(
            "no prefix",
            "192.0.2.0/24\n\nMO\n",
            "db:3: \"MO\" is not a prefix; expected one like 192.0.2.0/24 or 2001:db8::/32",
        ),
        bad_list(
            "host bits",
            "192.0.2.1/24",
            "db:1: 192.0.2.1/24 has bits set behind its length; write 192.0.2.0/24",
        ),
        bad_list(
            "host bits in IPv6",
            "::/0\n2001:db8::1/32",
            "db:2: 2001:db8::1/32 has bits set behind its length; write 2001:db8::/32",
        ),
        bad_list(
            "signed length",
            "192.0.2.0/24\n192.0.2.0/+24",
            "db:2: \"192.0.2.0/+24\" is not a prefix; expected one like 192.0.2.0/24 or 2001:db8::/32",
        ),
    ]
}

fn mmdb_files() -> Vec<Bad> {
    vec![
        bad(
            "MMDB of another kind",
            mmdb(&super::mmdb_writer::Value::Map(vec![("asn", text("AS1"))])),
            "db: no network with a country in it (it calls itself \"Test-Country\"); is it a country database?",
        ),
        bad(
            "MMDB with a bad code",
            mmdb(&nested("country", "MAC")),
            "db: the record of 1.0.0.0/8: \"MAC\" is not a country code; two letters are expected (for addresses without a country: EU, AP, ZZ, ??, A1, A2, - or nothing)",
        ),
        bad(
            "MMDB with a record of another type",
            mmdb(&text("MO")),
            "db: cannot decode the record of 1.0.0.0/8: ",
        ),
        bad(
            "MMDB with a pointer out of bounds",
            mmdb_with(0, 0x7f),
            "db: verify() of the MaxMind DB failed: ",
        ),
        bad(
            "MMDB with a cycle",
            mmdb_with(2, 0),
            "db: verify() of the MaxMind DB failed: ",
        ),
        bad(
            "MMDB with a broken separator",
            mmdb_with(8 * 6, 1),
            "db: verify() of the MaxMind DB failed: invalid database at offset 48: unexpected byte in data separator: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; download it again",
        ),
        bad(
            "MMDB, cut in the metadata",
            {
                let whole = mmdb(&flat("MO"));
                whole[..whole.len() - 1].to_vec()
            },
            "db: cannot open the MaxMind DB: ",
        ),
        bad(
            "MMDB, cut in the tree",
            mmdb(&flat("MO"))[..40].to_vec(),
            "db: binary, but without the metadata at the end of a MaxMind DB; ",
        ),
    ]
}

#[test]
fn bad_databases_say_where_and_what_to_do() {
    let groups = [any_format(), csv(), rir(), cidr(), mmdb_files()];
    for case in groups.into_iter().flatten() {
        let error = match read(&case.input, case.country) {
            Ok(database) => panic!("{}: read as {:?}", case.name, ranges(&database)),
            Err(error) => error.to_string(),
        };
        let expected = format!("failed to read geoip database {}", case.error);
        // What another library says is left to it; ours ends with what to do.
        let is_partial = case.error.ends_with(": ") || case.error.ends_with("; ");
        if is_partial {
            assert!(error.starts_with(&expected), "{}: {error}", case.name);
        } else {
            assert_eq!(error, expected, "{}", case.name);
        }
    }
}

#[test]
fn what_is_no_readable_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    let missing = folder.path().join("missing.mmdb");
    assert_eq!(
        read_file(&missing, &options).unwrap_err().to_string(),
        format!(
            "failed to read geoip database {}: No such file or directory (os error 2)",
            missing.display()
        )
    );
    assert!(matches!(
        *read_file(folder.path(), &options).unwrap_err().problem,
        Problem::NotAFile
    ));
    // Sparse: it takes no space on the disk, and is refused before it is read.
    let large = folder.path().join("large.csv");
    File::create(&large)
        .unwrap()
        .set_len(MAX_FILE_BYTES + 1)
        .unwrap();
    assert_eq!(
        read_file(&large, &options).unwrap_err().to_string(),
        format!(
            "failed to read geoip database {}: 1073741825 bytes, more than the 1073741824 that are \
             read; is it the right file?",
            large.display()
        )
    );
    let good = folder.path().join("good.csv");
    std::fs::write(&good, "1.0.0.0/24,MO").unwrap();
    assert_eq!(
        read_file(&good, &options).unwrap().info.source,
        Source::File(good)
    );
}

#[test]
fn file_that_is_written_meanwhile_is_refused_and_one_that_is_replaced_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.csv");
    let other = folder.path().join("other.csv");
    let (one, two) = ("1.0.0.0/24,MO\n", "1.0.0.0/24,CN\n");
    let read = |meanwhile: &dyn Fn()| {
        std::fs::write(&path, one).unwrap();
        std::fs::write(&other, two).unwrap();
        let file = File::options().write(true).read(true).open(&path).unwrap();
        // The clock of the file system ticks slowly.
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        read_open(file, meanwhile)
    };
    assert_eq!(read(&|| {}).unwrap(), one.as_bytes());
    let replaced = read(&|| std::fs::rename(&other, &path).unwrap());
    assert_eq!(replaced.unwrap(), one.as_bytes());
    for (name, text) in [
        ("as long", two),
        ("longer", "1.0.0.0/24,MO\n# more\n"),
        ("emptied", ""),
    ] {
        let written = read(&|| std::fs::write(&path, text).unwrap());
        assert!(
            matches!(written, Err(Problem::WrittenMeanwhile)),
            "{name}: {written:?}"
        );
    }
}
