//! Files that are broken, or cannot be read.

use super::*;

#[test]
fn broken_file_is_moved_aside_and_a_newer_one_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(
        place.path(),
        "this is no database, and long enough to be none".repeat(100),
    )
    .unwrap();
    let mut writer = place.run(DAWN);
    assert_eq!(fault(&writer), None);
    assert!(place.path().with_extension("db.broken").exists());
    writer.book(place.look(0, DAWN, "gate", &[("a", 1)]));
    writer.flush(DAWN);
    drop(writer);
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let before = fs::read(place.path()).unwrap();
    let mut writer = place.run(DAWN);
    assert!(
        fault(&writer)
            .unwrap()
            .contains("has schema 2, this version knows 1")
    );
    writer.book(place.look(0, DAWN + 60, "gate", &[("a", 2)]));
    writer.flush(DAWN + 60);
    assert!(
        fs::read(place.path()).unwrap() == before,
        "it was written to"
    );
}

#[test]
fn file_that_breaks_inside_is_moved_aside() {
    let place = Place::new();
    let mut writer = place.begin(&[]);
    for minute in 1..=30 {
        writer.book(place.look(minute * 60, DAWN + minute * 60, "gate", &[("a", minute)]));
    }
    writer.flush(DAWN + 1800);
    place.break_table(writer, "minutes");
    // It opens, for its first page is whole.
    let mut writer = place.run(DAWN + 1830);
    writer.book(place.look(1860, DAWN + 1860, "gate", &[("a", 40)]));
    writer.flush(DAWN + 1860);
    let words = fault(&writer).unwrap();
    assert!(words.contains("malformed"), "{words}");
    assert!(place.path().with_extension("db.broken").exists());
    assert!(place.path().with_extension("db.broken-journal").exists());
    writer.book(place.look(1920, DAWN + 1920, "gate", &[("a", 45)]));
    let history = writer
        .answer(&query(DAWN, Step::Minute), DAWN + 1920)
        .unwrap();
    assert_eq!(fault(&writer), None);
    assert_eq!(denied(&history), [(1800, 10, None), (1860, 5, None)]);
    drop(writer);
    // The new file knows up to which counters everything is booked.
    let mut writer = place.run(DAWN + 1950);
    writer.book(place.look(0, DAWN + 1980, "gate", &[("a", 47)]));
    let history = writer
        .answer(&query(DAWN, Step::Minute), DAWN + 1980)
        .unwrap();
    assert_eq!(history.total.denied_packets(), 17);
}

#[test]
fn question_that_meets_a_broken_page_moves_the_file_aside() {
    let place = Place::new();
    let mut writer = place.begin(&[("a", 1)]);
    writer.flush(DAWN);
    place.break_table(writer, "spans");
    let mut writer = place.run(DAWN + 30);
    let asked = query(DAWN, Step::Minute);
    let error = writer.answer(&asked, DAWN + 30).unwrap_err().to_string();
    assert!(error.contains("malformed"), "{error}");
    assert!(place.path().with_extension("db.broken").exists());
    let history = writer.answer(&asked, DAWN + 30).unwrap();
    assert_eq!((fault(&writer), denied(&history)), (None, vec![]));
    drop(writer);
    // Nobody looked since, and yet nothing is counted twice or left out.
    let mut writer = place.run(DAWN + 60);
    writer.book(place.look(0, DAWN + 60, "gate", &[("a", 4)]));
    let history = writer.answer(&asked, DAWN + 60).unwrap();
    assert_eq!(history.total.denied_packets(), 3);
}

#[test]
fn file_that_may_not_be_looked_at_is_not_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let missing = Store::open_to_read(&path).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    // As for who may not enter the directory: nobody can tell whether it is there.
    std::os::unix::fs::symlink("history.db", &path).unwrap();
    let error = Store::open_to_read(&path).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}
