"""Passages of a fictional company, each with a question that it answers."""

from __future__ import annotations

PAIRS = [
    ("Parents may take sixteen weeks of paid leave after a birth.", "How long is parental leave?"),
    ("The quarterly budget was approved by the board in March.", "Who agreed to the spending plan?"),
    ("Reset the turbine controller before replacing the valve.", "What comes before changing the valve?"),
    ("Visitors sign in at reception and wear a badge.", "Where do guests register?"),
    ("Expense reports are due on the last working day of the month.", "When must travel costs be handed in?"),
    (
        "The data centre in Norrholm runs on hydroelectric power.",
        "Where does the server site get electricity?",
    ),
    ("Passwords have at least fourteen characters.", "How long must a password be?"),
    ("The cafeteria serves a vegetarian dish every day.", "Is there lunch without meat?"),
    ("On-call engineers answer a page within ten minutes.", "How fast must someone react to an alert?"),
    ("Project Heron will acquire a maker of flow meters.", "Which company do we want to buy?"),
    ("Salaries are reviewed once a year in October.", "When can I get a raise?"),
    ("Backups are kept for ninety days and tested weekly.", "How long are copies of data stored?"),
    ("The warranty of the Wren meter covers five years.", "How long is the guarantee of the product?"),
    ("Employees may work from home three days a week.", "Can I do my job remotely?"),
    ("Report a lost laptop to security at once.", "What do I do if my computer is stolen?"),
    ("The apprenticeship programme starts in September.", "When do trainees begin?"),
    ("Contracts above fifty thousand need two signatures.", "Who has to sign a large agreement?"),
    ("The fire assembly point is the north car park.", "Where do we meet after an evacuation?"),
    ("Training costs up to two thousand a year are paid.", "Does the company pay for courses?"),
    ("Bicycles can be parked in the basement.", "Where do I leave my bike?"),
    ("Customers reach support from seven to nineteen o'clock.", "What are the service hours?"),
    ("The firmware is signed with a hardware key.", "How is the device software protected?"),
    ("Sick leave of more than three days needs a note.", "When do I need a doctor's certificate?"),
    ("The outage was caused by an expired certificate.", "Why was the service down?"),
    ("New suppliers are screened against sanction lists.", "How are vendors checked?"),
]
PASSAGES = [passage for passage, _ in PAIRS]
QUESTIONS = [question for _, question in PAIRS]
SENTENCES = [*PASSAGES, *QUESTIONS]
