"""Word lists that the invented patients are made of."""

_FORENAMES = """
Aisha Alan Amara Amelia Andrew Anna Arjun Beatrice Ben Bilal Carys Charlotte Chidi Clare Daniel
David Dilys Ella Emeka Emma Fatima Fiona Freya George Grace Gwen Hannah Harry Ibrahim Imogen Isla
Jack James Jasmine Joan John Kavita Kwame Leila Liam Lucy Margaret Maria Mark Mei Mohammed Nadia
Neil Nia Oliver Olivia Owen Patrick Peter Priya Rhys Robert Rosa Ruth Samuel Sarah Sean Sofia Susan
Thomas Tom Umar Victoria William Yusuf Zainab Zofia
"""

_SURNAMES = """
Adeyemi Ahmed Ali Anderson Baker Begum Bennett Brown Campbell Carter Chen Clarke Cooper Davies
Edwards Evans Fraser Green Griffiths Hall Harris Hughes Hussain Jackson James Johnson Jones Kaur
Kelly Khan King Kowalski Lee Lewis Lloyd Martin Mensah Miller Mitchell Moore Morgan Morris Murphy
Murray Nguyen Okafor Patel Phillips Price Roberts Robinson Rogers Scott Sharma Singh Smith Stewart
Taylor Thomas Thompson Turner Walker White Williams Wilson Wood Wright Young
"""

FORENAMES = tuple(_FORENAMES.split())
SURNAMES = tuple(_SURNAMES.split())

STREETS = (
    "Acacia Avenue",
    "Bevan Road",
    "Canal Street",
    "Chapel Lane",
    "Church Street",
    "Garden Close",
    "High Street",
    "Mill Lane",
    "Nightingale Way",
    "Orchard Drive",
    "Park View",
    "Queen Street",
    "Seacole Court",
    "Station Road",
    "The Green",
    "Victoria Terrace",
)

# City and the start of the telephone numbers that Ofcom keeps there for drama; three digits follow.
CITIES = (
    ("London", "02079460"),
    ("Leeds", "01134960"),
    ("Sheffield", "01144960"),
    ("Nottingham", "01154960"),
    ("Leicester", "01164960"),
    ("Bristol", "01174960"),
    ("Reading", "01184960"),
    ("Birmingham", "01214960"),
    ("Edinburgh", "01314960"),
    ("Glasgow", "01414960"),
    ("Liverpool", "01514960"),
    ("Manchester", "01614960"),
    ("Newcastle", "01914980"),
    ("Belfast", "02896496"),
    ("Cardiff", "02920180"),
)

WARDS = (
    "cardiology",
    "dermatology",
    "maternity",
    "oncology",
    "ophthalmology",
    "orthopaedics",
    "paediatrics",
    "renal",
)

VISITS = (
    "blood test",
    "follow-up",
    "imaging",
    "new patient",
    "physiotherapy",
    "telephone review",
    "vaccination",
)

FINDINGS = (
    "Blood pressure 128/82, no change to treatment.",
    "Reports better sleep since the last visit.",
    "Asthma well controlled; inhaler technique checked.",
    "Allergic to penicillin, confirmed with the patient.",
    "HbA1c 48 mmol/mol, diet discussed.",
    "Referred to the community physiotherapy team.",
    "Anxious about the coming operation; leaflet given.",
    "Wound clean and dry, dressing changed.",
    "Repeat prescription issued for three months.",
    "Lives alone, neighbour collects prescriptions.",
    "Prefers letters in large print.",
    "Interpreter needed for the next appointment.",
)
