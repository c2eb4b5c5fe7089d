<#
  Drops one contact: .\Drop-Contact.ps1 -Email jane@example.org [-FirstName Jane] [-LastName Doe] [-Inbox \\server\inbox]
  NOT RUN by the tests: there is no PowerShell on the machines that run them. It needs Windows PowerShell 5.1 or PowerShell 7.
#>
param(
    [Parameter(Mandatory)] [string] $Email,
    [string] $FirstName = '',
    [string] $LastName = '',
    [string] $Inbox = $(if ($env:MAILCHUTE_INBOX) { $env:MAILCHUTE_INBOX } else { '/var/spool/mailchute/inbox' })
)
$ErrorActionPreference = 'Stop'
$name = "contact-$([guid]::NewGuid()).json"
# A hidden name first: mailchute never looks at it.
$hidden = Join-Path $Inbox ".$name"
$text = @{ email = $Email; first_name = $FirstName; last_name = $LastName } | ConvertTo-Json -Compress
# UTF-8 without a mark, also in Windows PowerShell.
[IO.File]::WriteAllText($hidden, $text, [Text.UTF8Encoding]::new($false))
[IO.File]::Move($hidden, (Join-Path $Inbox $name))
