//! Reads numbers out of a report as its readers do: from the page and from the spreadsheet.

/// The page.
pub struct Html<'a>(pub &'a str);

impl Html<'_> {
    /// # Panics
    /// When something in it would be loaded or run.
    pub fn assert_needs_nothing(&self) {
        let loads = [
            "src=", "href=", "url(", "@import", "<script", "<link", "<img", "<iframe", "<object",
            "<embed",
        ];
        for loads in loads {
            assert!(!self.0.contains(loads), "{loads} in {}", self.0);
        }
        assert!(
            self.0
                .contains("default-src 'none'; style-src 'unsafe-inline'")
        );
    }

    /// The table whose caption begins like this.
    pub fn table(&self, caption: &str) -> Table {
        let marker = format!("<caption>{caption}");
        let text = self.0.split(&marker).nth(1);
        let text = text.unwrap_or_else(|| panic!("no table {caption:?}"));
        let text = text.split("</table>").next().unwrap();
        let mut rows = text.split("<tr>").skip(1).map(cells_of);
        Table {
            head: rows.next().unwrap(),
            rows: rows.collect(),
        }
    }
}

pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The cells of the row that has `name` in one of them.
    pub fn cells(&self, name: &str) -> &[String] {
        let row = self
            .rows
            .iter()
            .find(|row| row.iter().any(|cell| cell == name));
        row.unwrap_or_else(|| panic!("no {name} in {:?}", self.rows))
    }

    /// # Panics
    /// When there is no such row or column, or no number in it.
    pub fn number(&self, name: &str, column: &str) -> u64 {
        number_in(self.cell_under(self.cells(name), column))
    }

    /// All rows but that of the sum.
    pub fn sum(&self, column: &str) -> u64 {
        let rows = self.rows.iter().filter(|row| row[0] != "All");
        rows.map(|row| number_in(self.cell_under(row, column)))
            .sum()
    }

    /// Columns are counted from the right: the head of the sum spans those on the left.
    fn cell_under<'a>(&self, row: &'a [String], column: &str) -> &'a str {
        let place = self.head.iter().rev().position(|head| head == column);
        let place = place.unwrap_or_else(|| panic!("no {column} in {:?}", self.head));
        &row[row.len() - 1 - place]
    }
}

fn number_in(cell: &str) -> u64 {
    let digits = cell.replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{cell} is no number"))
}

/// The texts of the cells of a row.
fn cells_of(row: &str) -> Vec<String> {
    let row = row.split("</tr>").next().unwrap();
    let starts = row.match_indices("<t").map(|(at, _)| at);
    starts
        .map(|at| {
            let cell = &row[at..];
            let from = cell.find('>').unwrap() + 1;
            let to = cell.find("</t").unwrap();
            without_tags(&cell[from..to])
        })
        .collect()
}

fn without_tags(text: &str) -> String {
    let mut plain = String::new();
    for (index, part) in text.split('<').enumerate() {
        plain += match index {
            0 => part,
            _ => part.split_once('>').map_or("", |(_, rest)| rest),
        };
    }
    plain
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// The spreadsheet.
pub struct Csv {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    pub fn read(text: &str) -> Self {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let cells = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        Self {
            head: cells(reader.headers().unwrap()),
            rows: reader.records().map(|it| cells(&it.unwrap())).collect(),
        }
    }

    fn column(&self, name: &str) -> usize {
        self.head.iter().position(|head| head == name).unwrap()
    }

    pub fn text(&self, list: &str, name: &str, column: &str) -> &str {
        let row = self
            .rows
            .iter()
            .find(|row| row[0] == list && row[1] == name);
        let row = row.unwrap_or_else(|| panic!("no {list} {name} in {:?}", self.rows));
        &row[self.column(column)]
    }

    pub fn number(&self, list: &str, name: &str, column: &str) -> u64 {
        self.text(list, name, column).parse().unwrap()
    }

    pub fn sum(&self, list: &str, column: &str) -> u64 {
        let column = self.column(column);
        let rows = self.rows.iter().filter(|row| row[0] == list);
        rows.map(|row| row[column].parse::<u64>().unwrap()).sum()
    }
}
