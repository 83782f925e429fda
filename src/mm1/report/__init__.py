"""What every report of mm1 is made of: markup that escapes, drawings, one style, and a page that opens offline."""
