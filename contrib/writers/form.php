<?php
// Takes a sign-up form's POST (email, first_name, last_name) and drops it. Put it where your form's action points,
// and let the web server's user write to the folder.
const FIELDS = ['email', 'first_name', 'last_name'];

function mailchute_drop(array $contact, string $inbox): bool
{
    $name = 'form-' . bin2hex(random_bytes(8)) . '.json';
    // A hidden name first: mailchute never looks at it.
    $hidden = "$inbox/.$name";
    $text = json_encode($contact, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
    return file_put_contents($hidden, $text) === strlen($text)
        && chmod($hidden, 0640)
        && rename($hidden, "$inbox/$name");
}

$contact = array_filter(array_intersect_key($_POST, array_flip(FIELDS)), 'is_string');
if (filter_var($contact['email'] ?? '', FILTER_VALIDATE_EMAIL) === false) {
    http_response_code(400);
    exit('Please go back and enter an e-mail address.');
}
// Where the address came from is kept as evidence of the person's consent.
$contact += ['consent_at' => gmdate('Y-m-d\TH:i:s\Z'), 'source' => $_SERVER['HTTP_REFERER'] ?? 'form'];
$kept = mailchute_drop($contact, getenv('MAILCHUTE_INBOX') ?: '/var/spool/mailchute/inbox');
http_response_code($kept ? 200 : 500);
echo $kept ? 'Thank you, you are on the list.' : 'Something went wrong. Please try again later.';
