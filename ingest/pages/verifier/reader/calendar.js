// Days as the commune counts them: week-ends, public holidays, hours of service.

const ONE_DAY_MS = 86400e3;
const dateOf = (day) => new Date(`${day}T00:00:00Z`);
const dayAfter = (day, days) => new Date(+dateOf(day) + days * ONE_DAY_MS).toISOString().slice(0, 10);

/** Easter Sunday of a year (the Gregorian computus of Meeus, Jones and Butcher). */
function easter(year) {
  const a = year % 19, b = Math.floor(year / 100), c = year % 100, d = Math.floor(b / 4), e = b % 4;
  const f = Math.floor((b + 8) / 25), g = Math.floor((b - f + 1) / 3), h = (19 * a + b - d - g + 15) % 30;
  const i = Math.floor(c / 4), k = c % 4, l = (32 + 2 * e + 2 * i - h - k) % 7, m = Math.floor((a + 11 * h + 22 * l) / 451);
  const month = Math.floor((h + l - 7 * m + 114) / 31), day = (h + l - 7 * m + 114) % 31 + 1;
  return `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
}

const holidaysOfYears = new Map();
/** The legal holidays of a year (code du travail, art. L. 3133-1); those of Alsace and Moselle too where asked. */
function holidays(year, isAlsaceMoselle) {
  const key = `${year} ${isAlsaceMoselle}`;
  if (!holidaysOfYears.has(key)) {
    const sunday = easter(+year);
    holidaysOfYears.set(key, new Map([
      [`${year}-01-01`, 'jour de l’an'], [dayAfter(sunday, 1), 'lundi de Pâques'], [`${year}-05-01`, 'fête du Travail'],
      [`${year}-05-08`, 'victoire de 1945'], [dayAfter(sunday, 39), 'Ascension'], [dayAfter(sunday, 50), 'lundi de Pentecôte'],
      [`${year}-07-14`, 'fête nationale'], [`${year}-08-15`, 'Assomption'], [`${year}-11-01`, 'Toussaint'],
      [`${year}-11-11`, 'armistice de 1918'], [`${year}-12-25`, 'Noël'],
      ...(isAlsaceMoselle ? [[dayAfter(sunday, -2), 'vendredi saint'], [`${year}-12-26`, 'Saint-Étienne']] : []),
    ]));
  }
  return holidaysOfYears.get(key);
}

const WEEKDAYS = ['dimanche', 'lundi', 'mardi', 'mercredi', 'jeudi', 'vendredi', 'samedi'];
/** Why a day is out of hours as a whole, or the empty text. */
function dayOff(day, { weekends, publicHolidays, alsaceMoselle }) {
  const weekday = dateOf(day).getUTCDay();
  return publicHolidays && holidays(day.slice(0, 4), alsaceMoselle).get(day) || (weekends && weekday % 6 === 0 ? WEEKDAYS[weekday] : '');
}
/** Is a minute of the day out of hours? Hours may pass midnight: from 20:00 to 06:00. */
const isOutOfHours = (minute, from, to) => from <= to ? minute < from || minute >= to : minute < from && minute >= to;
const minuteOf = (clock) => 60 * +clock.slice(0, 2) + +clock.slice(3, 5);
