// Times, names (§2).

/* A day is the number of days since 1970-01-01; a time stays text, whose order is the order of times. */
const dayNumber = (year, month, day) => {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400), inEra = shifted - 400 * era;
  const inYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return 146097 * era + 365 * inEra + Math.floor(inEra / 4) - Math.floor(inEra / 100) + inYear - 719468;
};
const monthLength = (year, month) =>
  month === 2 ? (year % 4 === 0 && year % 100 !== 0 || year % 400 === 0 ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
/** The number of a day spelt YYYY-MM-DD, or null where there is no such day. */
const parseDay = (text) => {
  if (typeof text !== 'string' || !/^\d{4}-\d\d-\d\d$/.test(text)) return null;
  const year = +text.slice(0, 4), month = +text.slice(5, 7), day = +text.slice(8);
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= monthLength(year, month)
    ? dayNumber(year, month, day) : null;
};
const formatDay = (number) => {
  const shifted = number + 719468, era = Math.floor(shifted / 146097), inEra = shifted - 146097 * era;
  const yearOfEra = Math.floor((inEra - Math.floor(inEra / 1460) + Math.floor(inEra / 36524) - Math.floor(inEra / 146096)) / 365);
  const inYear = inEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const month = Math.floor((5 * inYear + 2) / 153), day = inYear - Math.floor((153 * month + 2) / 5) + 1;
  const civil = month < 10 ? month + 3 : month - 9;
  const year = yearOfEra + 400 * era + (civil <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${String(civil).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
};
const CLOCK = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d';
const RECORD_TIME = new RegExp(`^\\d{4}-\\d\\d-\\d\\dT${CLOCK}\\.\\d{6}Z$`);
const SEAL_TIME = new RegExp(`^\\d{4}-\\d\\d-\\d\\dT${CLOCK}Z$`);
const isTime = (pattern, text) => typeof text === 'string' && pattern.test(text) && parseDay(text.slice(0, 10)) !== null;
const isRecordTime = (text) => isTime(RECORD_TIME, text);
const isSealTime = (text) => isTime(SEAL_TIME, text);
const isDay = (text) => typeof text === 'string' && parseDay(text) !== null;
const dayOf = (time) => parseDay(time.slice(0, 10));
const secondsSince1970 = (time) =>
  86400 * dayOf(time) + 3600 * +time.slice(11, 13) + 60 * +time.slice(14, 16) + +time.slice(17, 19);

const CODE = '[a-z0-9][a-z0-9-]{0,62}';
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const IS_CODE = new RegExp(`^${CODE}$`);
const IS_TENANT = new RegExp(`^(?:${CODE}|_service)$`);
const IS_SERVICE = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const ORIGIN = new RegExp(`^openepm-journal/v1/([^/]+)/(${CODE}|_service)/(${CODE})$`);
const isService = (text) => text.length <= 253 && IS_SERVICE.test(text);
const parseOrigin = (text) => {
  const found = typeof text === 'string' ? ORIGIN.exec(text) : null;
  return found && isService(found[1]) ? { origin: text, service: found[1], tenant: found[2], category: found[3] } : null;
};
