"""Views: the record as plain JSON that pages draw, live and in a report. No file is read here."""
