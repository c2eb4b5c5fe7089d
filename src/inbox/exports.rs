//! The exports that people have, each read without a word of configuration from a file with that program's header row. Where
//! the header rows are from is said beside the files.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path};

use super::{decode, delimited};
use crate::contact::{Contact, Rejection};

/// What an export comes to: each contact as the outbox stores it, and each refusal.
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports").join(name);
    let bytes = fs::read(path).unwrap();
    let mut lines = Vec::new();
    let text = decode::text(Box::new(&bytes[..]), None).unwrap();
    delimited::read(text, &BTreeMap::new(), &mut |row| {
        lines.push(match row.and_then(|row| Contact::from_row(&row)) {
            Ok(contact) => {
                let evidence = contact.evidence();
                let at = evidence.consent_at.map(|at| format!(" agreed {at}")).unwrap_or_default();
                let from = evidence.source.iter().chain(&evidence.ip).map(|text| format!(" {text}"));
                let text = serde_json::to_string(&contact).unwrap();
                format!("{text}{at}{}", from.collect::<String>())
            }
            Err(Rejection { line, field, reason, .. }) => {
                format!("line {line}: {}: {reason}", field.unwrap_or_default())
            }
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    lines.join("\n")
}

#[test]
fn constant_contact() {
    insta::assert_snapshot!(read("constant_contact.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phones":{"mobile":"555 0101","work":"555 0100"},"anniversary":"2010-06-01","birthday":[2,9],"addresses":{"home":{"kind":"home","street":"1 High Street","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}} Website sign-up form
    line 3: permission: `Unsubscribed`: the person does not want to be mailed
    {"email":"max@example.com"}
    "#);
}

#[test]
fn constant_contact_2019() {
    insta::assert_snapshot!(read("constant_contact_2019.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phones":{"home":"555 0100","mobile":"555 0101"},"addresses":{"home":{"kind":"home","street":"1 High Street","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}} Sign-up form
    line 3: permission: `Unsubscribed`: the person does not want to be mailed
    "#);
}

#[test]
fn eventbrite() {
    insta::assert_snapshot!(read("eventbrite.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","addresses":{"home":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}}"#);
}

#[test]
fn eventbrite_attendees() {
    insta::assert_snapshot!(read("eventbrite_attendees.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","phone_number":"555 0100"}"#);
}

#[test]
fn flamingo() {
    insta::assert_snapshot!(read("flamingo.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe"}"#);
}

#[test]
fn flamingo_messages() {
    insta::assert_snapshot!(read("flamingo_messages.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","phone_number":"+49 555 0100"}"#);
}

#[test]
fn google_contacts() {
    insta::assert_snapshot!(read("google_contacts.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phone_number":"555 0100","birthday":[2,9],"street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}
    line 7: email: the row has no address
    {"email":"max@example.com"}
    "#);
}

#[test]
fn google_contacts_before_2024() {
    insta::assert_snapshot!(read("google_contacts_before_2024.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phone_number":"555 0100","birthday":[2,9],"street_address":{"kind":"home","street":"1 High Street","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}"#);
}

#[test]
fn gravity_forms() {
    insta::assert_snapshot!(read("gravity_forms.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","phone_number":"(555) 010-0000","street_address":{"kind":"home","street":"1 High Street","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}} agreed 2024-01-02T10:00:00Z https://www.example.org/join/ 192.0.2.7
    {"email":"max@example.com","first_name":"Max","last_name":"Muster","phone_number":"+49 30 555 0100"} agreed 2023-12-31T09:30:00Z https://www.example.org/join/ 198.51.100.7
    "#);
}

#[test]
fn hubspot() {
    insta::assert_snapshot!(read("hubspot.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phone_number":"555 0100","phones":{"mobile":"555 0101"},"street_address":{"kind":"home","street":"1 High Street","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}"#);
}

#[test]
fn mailchimp() {
    insta::assert_snapshot!(read("mailchimp.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"555 0100","birthday":[2,9],"street_address":{"kind":"home","street":"1 High Street Springfield IL 62701","state":"IL"}} agreed 2015-03-16T14:40:47Z 192.0.2.7
    {"email":"max@example.com"} agreed 2018-04-13T10:57:02Z 198.51.100.8
    "#);
}

#[test]
fn mailchimp_unsubscribed_and_cleaned() {
    let refused = ["mailchimp_unsubscribed.csv", "mailchimp_cleaned.csv"].map(read).join("\n");
    insta::assert_snapshot!(refused, @r#"
    line 2: opted_out: `2019-05-02 09:12:31`: the person left, or mail to them came back
    line 2: opted_out: `2020-01-07 06:00:00`: the person left, or mail to them came back
    "#);
}

#[test]
fn outlook() {
    insta::assert_snapshot!(read("outlook.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phones":{"home":"555 0100","mobile":"555 0102","work":"555 0101"},"birthday":[2,9],"addresses":{"home":{"kind":"home","street":"1 High Street","city":"Shelbyville","state":"IL","postal_code":"62565","country":"US"},"work":{"kind":"work","street":"2 Low Street, Floor 3","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}}"#);
}

#[test]
fn outlook_com() {
    insta::assert_snapshot!(read("outlook_com.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","job_title":"Owner","company_name":"Doe & Daughters","phones":{"home":"555 0100","mobile":"555 0102","work":"555 0101"},"birthday":[2,9],"addresses":{"home":{"kind":"home","street":"1 High Street","city":"Shelbyville","state":"IL","postal_code":"62565","country":"US"},"other":{"kind":"other","street":"3 Mill Lane","city":"Springfield"},"work":{"kind":"work","street":"2 Low Street, Floor 3","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}}"#);
}

#[test]
fn salesforce() {
    insta::assert_snapshot!(read("salesforce.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"555 0100","phones":{"mobile":"555 0101"},"street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}
    {"email":"max@example.com","first_name":"Max","last_name":"Muster","company_name":"Muster GmbH"}
    line 7: : line 7 has 1 cells and the header 15: a delimiter is missing, or one stands unquoted in a cell
    line 8: : line 8 has 1 cells and the header 15: a delimiter is missing, or one stands unquoted in a cell
    "#);
}

#[test]
fn shopify() {
    insta::assert_snapshot!(read("shopify.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"+15555550100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}
    line 4: permission: `no`: the person does not want to be mailed
    line 5: email: the row has no address
    "#);
}

#[test]
fn squarespace() {
    insta::assert_snapshot!(read("squarespace.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","phone_number":"555 0100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}} agreed 2024-01-02T10:00:00Z Newsletter block
    line 3: permission: `FALSE`: the person does not want to be mailed
    "#);
}

#[test]
fn wix() {
    insta::assert_snapshot!(read("wix.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"+1 555 555 0100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}} Form
    line 3: permission: `Never subscribed`: the person does not want to be mailed
    line 4: permission: `Unsubscribed`: the person does not want to be mailed
    line 5: email: the row has no address
    "#);
}

#[test]
fn woocommerce_customers() {
    insta::assert_snapshot!(read("woocommerce_customers.csv"), @r#"{"email":"jane@example.org","first_name":"Jane","last_name":"Doe","street_address":{"kind":"home","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}"#);
}

#[test]
fn woocommerce_orders() {
    insta::assert_snapshot!(read("woocommerce_orders.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"555 0100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","company_name":"Doe & Daughters","phone_number":"555 0100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}}
    "#);
}

#[test]
fn wpforms() {
    insta::assert_snapshot!(read("wpforms.csv"), @r#"
    {"email":"jane@example.org","first_name":"Jane","last_name":"Doe","phone_number":"+49 30 555 0100","street_address":{"kind":"home","street":"1 High Street, Flat 2","city":"Springfield","state":"IL","postal_code":"62701","country":"US"}} agreed 2024-01-02T10:00:00Z 192.0.2.7
    {"email":"max@example.com","first_name":"Max"} agreed 2023-12-31T21:30:00Z 198.51.100.7
    "#);
}
