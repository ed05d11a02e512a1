package conformance

const (
	badExpression = "Invalid schedule expression."
	badHours      = "Rate in hour should be least 4 and less than 24."
	badDays       = "Rate in day should be greater than 0 and less than 1000."
	badDuration   = "Duration must be at least 1 hour, at most 24 hour."
	longerThanDay = "Starting hour and duration must be within a day."
	longerThanGap = "Duration cannot be greater than Rate in hour."
)

// accepted are the expressions of AWS's own guide and the ends of its ranges.
var accepted = []struct{ expression, duration, means string }{
	{"rate(4 hours)", "", "the shortest rate"},
	{"rate(23 hours)", "", "the longest rate in hours"},
	{"rate(1 day)", "", "every day"},
	{"rate(1 days)", "", "every day, in the plural"},
	{"rate(999 days)", "", "the longest rate in days"},
	{"rate(6 hours)", "6h", "a window as long as the interval"},
	{"rate(10 days)", "3h", "a window of 3 hours"},
	{"rate(10 days)", "24h", "a window of a whole day"},
	{"cron(0 /8 * * ? *)", "", "every 8 hours from midnight"},
	{"cron(0 8/8 * * ? *)", "", "every 8 hours from 08:00"},
	{"cron(0 2/10 * * ? *)", "", "02:00, 12:00 and 22:00"},
	{"cron(0 10 * * ? *)", "", "every day at 10:00"},
	{"cron(0 18 ? * SAT *)", "", "on Saturdays"},
	{"cron(0 8 ? * MON-FRI *)", "", "on weekdays"},
	{"cron(0 8 1 * ? *)", "", "on the first of the month"},
	{"cron(0 17 L * ? *)", "", "on the last of the month"},
	{"cron(0 16 1,15 * ? *)", "", "on the 1st and 15th"},
	{"cron(0 1 ? 1/3 SUN#1 *)", "", "on the first Sunday of every third month"},
	{"cron(0 0 ? * SUN#1 *)", "", "on the first Sunday of the month"},
	{"cron(0 0 ? * 1 *)", "", "on Sundays, by number"},
	{"cron(0 0 1 JAN,JUL ? *)", "", "twice a year"},
	{"cron(0 20 * * ? *)", "4h", "a window to the end of the day"},
}

// refusedSchedules are rules that can't be.
var refusedSchedules = []struct{ expression, duration, text, source string }{
	{"rate(3 hours)", "", badHours, preflight},
	{"rate(24 hours)", "", badHours, preflight},
	{"rate(0 hours)", "", "", preflight},
	{"rate(0 days)", "", badDays, preflight},
	{"rate(1000 days)", "", badDays, preflight},
	{"rate(30 minutes)", "", badExpression, preflight},
	{"rate(1 week)", "", badExpression, preflight},
	{"rate(10)", "", badExpression, preflight},
	{"rate()", "", badExpression, preflight},
	{"rate(ten days)", "", badExpression, preflight},
	{"rate(-1 days)", "", "", preflight},
	{"every day", "", badExpression, preflight},
	{"cron()", "", badExpression, preflight},
	{"cron(0 10 * * ?)", "", badExpression, schedules},
	{"cron(30 10 * * ? *)", "", "", schedules},
	{"cron(* 10 * * ? *)", "", "", schedules},
	{"cron(0 10 * * ? 2030)", "", "", schedules},
	{"cron(0 10 * * * *)", "", "", schedules},
	{"cron(0 10 ? * ? *)", "", "", schedules},
	{"cron(0 24 * * ? *)", "", "", schedules},
	{"cron(0 10 32 * ? *)", "", "", schedules},
	{"cron(0 10 1 13 ? *)", "", "", schedules},
	{"cron(0 10 ? * 8 *)", "", "", schedules},
	{"cron(0 10 ? * SUN#6 *)", "", "", schedules},
	{"cron(0 /3 * * ? *)", "", "", schedules},
	{"cron(0 * * * ? *)", "", "", schedules},
	{"rate(10 days)", "0h", badDuration, preflight},
	{"rate(10 days)", "25h", badDuration, preflight},
	{"rate(4 hours)", "5h", longerThanGap, preflight},
	{"cron(0 20 * * ? *)", "5h", longerThanDay, preflight},
}

// scheduleRules are the grammar of ScheduleExpression and Duration.
func scheduleRules() []Rule {
	var rules []rule
	for _, a := range accepted {
		name, in := scheduleName(a.expression, a.duration)
		rules = append(rules, rule{"accepts " + name + ": " + a.means, schedules, func(p *Probe) {
			got, _ := p.Describe(p.scheduled(in)).Members["RotationRules"].(map[string]any)
			for k, v := range in {
				if got[k] != v {
					p.Fail("%s became %s", compact(in), compact(got))
				}
			}
		}})
	}
	for _, r := range refusedSchedules {
		name, in := scheduleName(r.expression, r.duration)
		rules = append(rules, rule{"refuses " + name, r.source, func(p *Probe) {
			function, s := p.RotationFunction(), p.Secret()
			p.rotated(s, M{"RotationLambdaARN": function, "RotationRules": in}).Refused("InvalidParameterException", r.text)
			p.Describe(s).Absent("RotationEnabled", "RotationRules")
		}})
	}
	rules = append(rules,
		rule{"accepts AutomaticallyAfterDays of 1 and of 1000", model, func(p *Probe) {
			for _, days := range []int{1, 1000} {
				p.Describe(p.scheduled(M{"AutomaticallyAfterDays": days})).Is("RotationRules", M{"AutomaticallyAfterDays": days})
			}
		}},
		rule{"refuses AutomaticallyAfterDays and ScheduleExpression together", preflight, func(p *Probe) {
			function := p.RotationFunction()
			p.rotated(p.Secret(), M{"RotationLambdaARN": function, "RotationRules": M{"AutomaticallyAfterDays": 10, "ScheduleExpression": "rate(10 days)"}}).
				Refused("InvalidParameterException", "You cannot specify both rotation frequency and schedule expression together.")
		}},
		rule{"accepts a Duration beside AutomaticallyAfterDays", api("RotationRulesType"), func(p *Probe) {
			p.Describe(p.scheduled(M{"AutomaticallyAfterDays": 10, "Duration": "3h"})).Is("RotationRules", M{"AutomaticallyAfterDays": 10, "Duration": "3h"})
		}},
	)
	return on("RotateSecret", rules...)
}

func scheduleName(expression, duration string) (string, M) {
	in := M{"ScheduleExpression": expression}
	if duration == "" {
		return expression, in
	}
	in["Duration"] = duration
	return expression + " with a Duration of " + duration, in
}
