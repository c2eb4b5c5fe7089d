<?php
/*
 * Plugin Name: Sign-ups to mailchute
 * Description: Drops what Contact Form 7 and WPForms collect into mailchute's inbox. Save as wp-content/mu-plugins/mailchute.php.
 * The form needs fields named email, first_name and last_name (WPForms: labelled so), and a tick box for the consent.
 */
function mailchute_drop(array $contact): void
{
    if (!is_string($contact['email'] ?? null) || $contact['email'] === '') {
        return;
    }
    $inbox = defined('MAILCHUTE_INBOX') ? MAILCHUTE_INBOX : '/var/spool/mailchute/inbox';
    $name = 'wordpress-' . bin2hex(random_bytes(8)) . '.json';
    // A hidden name first: mailchute never looks at it.
    $text = json_encode($contact, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
    if (file_put_contents("$inbox/.$name", $text) !== strlen($text) || !rename("$inbox/.$name", "$inbox/$name")) {
        error_log("mailchute: a sign-up could not be written to $inbox");
    }
}

add_action('wpcf7_mail_sent', function ($form) {
    $data = WPCF7_Submission::get_instance()->get_posted_data();
    mailchute_drop(['source' => $form->title()] + array_intersect_key($data, array_flip(['email', 'first_name', 'last_name'])));
});

add_action('wpforms_process_complete', function ($fields, $entry, $form, $entry_id) {
    $named = array_column($fields, 'value', 'name');
    $keys = array_map(fn ($name) => strtr(strtolower(trim($name)), ' -', '__'), array_keys($named));
    $contact = array_combine($keys, array_values($named));
    mailchute_drop(['source' => $form['settings']['form_title'] ?? 'WPForms'] + $contact);
}, 10, 4);
