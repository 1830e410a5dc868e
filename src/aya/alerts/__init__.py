"""Telling a person and other programs what happened: a command, a signed webhook, a notification of macOS.

Whoever logs an event of `aya.alerts.events` has told it; nothing here can hold up a decision.

    [alerts]
    commands = ["/path/to/script"]          # the event's document on standard input, its name as the last argument
    webhook = "https://example.com/hook"    # POST, signed as Standard Webhooks says
    webhook_secret_file = "webhook-secret"  # mode 600; whsec_…
    notify = true                           # of macOS, on the screen of whoever is logged in
"""
