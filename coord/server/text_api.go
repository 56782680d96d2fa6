package server

import "github.com/danielgtaylor/huma/v2/validation"

// sayUnfit puts the API's words for what is wrong with a field of a request in place of huma's, which are those of JSON Schema.
// Each follows the field's name. huma keeps them for a whole process, and reads them when a schema is made.
func sayUnfit() {
	validation.MsgUnexpectedProperty = "there is no such field"
	validation.MsgExpectedRequiredProperty = "%s is missing"
	validation.MsgExpectedArray = "must be a list"
	validation.MsgExpectedObject = "must be an object"
	validation.MsgExpectedString = "must be a string"
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedInteger = "must be a whole number"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedOneOf = `must be one of "%s"`
	validation.MsgExpectedMinItems = "must have %d entries at least"
	validation.MsgExpectedMaxItems = "may have %d entries at the most"
	validation.MsgExpectedMinLength = "must have %d characters at least"
	validation.MsgExpectedMaxLength = "may have %d characters at the most"
	validation.MsgExpectedMinimumNumber = "must be %v at least"
	validation.MsgExpectedMaximumNumber = "may be %v at the most"
}
