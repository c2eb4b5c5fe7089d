//! What a row of a drop file means: a contact, or a rejection that names its place.
