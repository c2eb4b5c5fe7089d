#!/usr/bin/env node
// Drops one contact: node drop.mjs EMAIL [FIRST_NAME [LAST_NAME]]; or import { drop } from it.
import { randomUUID } from 'node:crypto';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const INBOX = process.env.MAILCHUTE_INBOX ?? '/var/spool/mailchute/inbox';

/** Writes a contact, an object of field names and values, whole or not at all. */
export async function drop(contact, inbox = INBOX) {
  const name = `contact-${randomUUID()}.json`;
  // A hidden name first: mailchute never looks at it.
  const hidden = join(inbox, `.${name}`);
  const file = await open(hidden, 'wx');
  try {
    await file.writeFile(JSON.stringify(contact));
    await file.chmod(0o640); // readable for the folder's group, whatever the umask is
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(hidden, join(inbox, name));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [email, first_name, last_name] = process.argv.slice(2);
  if (!email) throw new Error('usage: drop.mjs EMAIL [FIRST_NAME [LAST_NAME]]');
  await drop({ email, first_name, last_name });
}
