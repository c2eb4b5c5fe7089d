//! Files as people and programs drop them, and what the account should hold after them.

use std::collections::BTreeMap;

use super::stage::Stage;
use crate::sandbox::Permission;

/// The account's lists.
pub(super) const LISTS: [&str; 2] = ["Newsletter", "Customers"];
/// A customer who is in the account before the demo begins.
pub(super) const KNOWN_BEFORE: &str = "customer2@example.org";

/// A file: its path below the inbox, and its bytes.
pub(super) struct Sample {
    pub(super) path: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// The files of the demo, and the people who should be on a list after them.
pub(super) struct Samples {
    pub(super) first: Vec<Sample>,
    pub(super) again: Vec<Sample>,
    unreadable: usize,
    /// First name and list by address.
    expected: BTreeMap<String, (String, &'static str)>,
}

const FORM: &str = r#"[
  {"email": "Jane.Doe@example.org", "first_name": "Jane", "last_name": "Doe", "company_name": "Doe & Daughters"},
  {"email": "ravi@example.net", "first_name": "Ravi", "phone_number": "+1 555 0100"}
]
"#;

const MIXED: &str = "\
Email Address;First Name;Last Name
rosa@example.com;Rosa;Luna
rosa.example.com;Rosa;Luna
;Nobody;Inparticular
li@example.com;Li;Wei
mo@example.com;Mo
";

impl Samples {
    pub(super) fn new(rows: usize) -> Self {
        let sample = |path, text: &str| Sample { path, bytes: text.as_bytes().to_vec() };
        let mut expected = BTreeMap::new();
        for (address, name) in [
            ("jane.doe@example.org", "Jane"),
            ("ravi@example.net", "Ravi"),
            ("rosa@example.com", "Rosa"),
            ("li@example.com", "Li"),
        ] {
            expected.insert(address.to_owned(), (name.to_owned(), LISTS[0]));
        }
        let mut export = "Email,First Name,Last Name,City,Zip,Orders\n".to_owned();
        for number in 1..=rows {
            let (address, name) = (format!("customer{number}@example.org"), format!("Customer {number}"));
            let orders = number % 7;
            let line = format!("{address},{name},Sample,\"Springfield, North\",1{number:04},{orders}\n");
            export.push_str(&line);
            expected.insert(address, (name, LISTS[1]));
        }
        // A shop lists who ordered twice twice.
        export += "CUSTOMER1@example.org,Customer 1,Sample,,,9\n";
        Self {
            first: vec![
                sample("website-form.json", FORM),
                sample("customers/shop-export.csv", &export),
                sample("volunteers.csv", MIXED),
                Sample {
                    path: "board.csv",
                    bytes: b"PK\x03\x04\x14\0\x06\0 a workbook that was only renamed".to_vec(),
                },
            ],
            again: vec![sample("website-form-again.json", FORM)],
            unreadable: 1,
            expected,
        }
    }

    /// How many of the first files get a receipt.
    pub(super) fn answered_first(&self) -> usize {
        self.first.len() - self.unreadable
    }

    /// Where the account is not as it should be.
    pub(super) fn differences(&self, stage: &Stage) -> Vec<String> {
        let mut wrong = stage.sandbox().inspect(|world| {
            let mut wrong = Vec::new();
            for (address, (name, list)) in &self.expected {
                match world.contact(address) {
                    None => wrong.push(format!("{address} is missing")),
                    Some(_) if !world.members(list).contains(address) => {
                        wrong.push(format!("{address} is not on {list}"));
                    }
                    Some(contact) if contact.permission != Permission::Explicit => {
                        wrong.push(format!("{address} is not explicit"));
                    }
                    Some(contact)
                        if contact.details.get("first_name").and_then(|name| name.as_str()) != Some(name) =>
                    {
                        wrong.push(format!("{address} is not named {name}"));
                    }
                    Some(_) => {}
                }
            }
            let strangers = world.contacts().filter(|contact| {
                let key = contact.address.to_lowercase();
                !self.expected.contains_key(&key) && key != KNOWN_BEFORE
            });
            wrong.extend(strangers.map(|contact| format!("{} should not be there", contact.address)));
            wrong
        });
        let failed = stage.failed_files().len();
        if failed != self.unreadable {
            wrong.push(format!("{failed} files failed instead of {}", self.unreadable));
        }
        wrong
    }
}
